"""In-process: the shop with its traffic policies around it. Run it as you would run the shop:

uvicorn main:app
"""

from pathlib import Path

from shop import app as shop

from pingsix_asgi import PingSIX

app = PingSIX(shop, config=Path(__file__).with_name("policies.yaml"))
