"""A small book shop, as a service without any traffic policy of its own.

It knows nothing of keys, limits, CORS or request ids: that is the gateway's work.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Annotated

from fastapi import FastAPI, Header, HTTPException, status
from pydantic import BaseModel, Field

INSTANCE = os.environ.get("SHOP_INSTANCE", "shop")


class Book(BaseModel):
    id: int
    title: str
    author: str
    price_cents: int


class NewOrder(BaseModel):
    book_id: int
    copies: int = Field(default=1, ge=1, le=20)


class Order(NewOrder):
    id: int
    total_cents: int
    request_id: str | None
    taken_by: str


BOOKS = {
    book.id: book
    for book in (
        Book(id=1, title="The Left Hand of Darkness", author="Ursula K. Le Guin", price_cents=1150),
        Book(id=2, title="Invisible Cities", author="Italo Calvino", price_cents=990),
        Book(id=3, title="The Dispossessed", author="Ursula K. Le Guin", price_cents=1290),
    )
}

app = FastAPI(title="Book shop")
orders: dict[int, Order] = {}
numbers = count(1)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok", "instance": INSTANCE}


@app.get("/books")
async def list_books(author: str | None = None) -> list[Book]:
    return [book for book in BOOKS.values() if author is None or author in book.author]


@app.get("/books/{book_id}")
async def show_book(book_id: int) -> Book:
    if book_id not in BOOKS:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such book")
    return BOOKS[book_id]


@app.post("/orders", status_code=status.HTTP_201_CREATED)
async def place_order(new: NewOrder, x_request_id: Annotated[str | None, Header()] = None) -> Order:
    book = await show_book(new.book_id)
    order = Order(
        **new.model_dump(),
        id=next(numbers),
        total_cents=book.price_cents * new.copies,
        request_id=x_request_id,
        taken_by=INSTANCE,
    )
    orders[order.id] = order
    return order
