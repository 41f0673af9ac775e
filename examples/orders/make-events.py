#!/usr/bin/env python3
"""Prints orders as JSON lines: {"subject": …, "headers": {…}, "payload": {…}}.

The same seed gives the same orders. One of them is poison (it has no items),
and one comes before its price list and needs a retry.
"""

import argparse
import json
import os
import random
import sys

CURRENCIES = {
    "AT": "EUR", "CH": "CHF", "DE": "EUR", "ES": "EUR", "FR": "EUR",
    "GB": "GBP", "JP": "JPY", "PL": "PLN", "US": "USD",
}
NAMES = [
    "Zoë Müller", "Łukasz Żółć", "José Ñíguez", "佐藤 花子", "Amélie d’Aubigné", "Jiří Dvořák",
    "O'Connor, Siobhán", "Renée Çelik", "Grace Hopper", "Søren Ångström", "山田 太郎", "Élodie Lefèvre",
]
# Article, name, price in hundredths of a euro.
ARTICLES = [
    ("BK-1001", "Notizbuch, liniert", 1290), ("BK-1002", "Füllfederhalter „Blau“", 4900),
    ("KT-2001", "Teekanne 1,2 l", 3450), ("KT-2002", "Tasse, handbemalt ☕", 1580),
    ("EL-3001", "Écouteurs sans fil", 12900), ("EL-3002", "モニター 27″", 38900),
    ("EL-3003", "Laptop 14″", 129900), ("SP-4001", "Yogamatte", 2990),
    ("SP-4002", "Kolo górskie", 89900), ("GD-5001", "Gießkanne 5 l", 1990),
]
# What a hundredth of a euro costs in the smallest unit of each currency.
RATES = {"EUR": 1, "CHF": 0.95, "GBP": 0.85, "USD": 1.1, "PLN": 4.3, "JPY": 1.6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1200, help="number of orders, at least 2 (default: 1200)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other orders (default: 1)")
    options = parser.parse_args()
    if options.count < 2:
        parser.error("--count has to be 2 or more: one poison order, one that needs a retry")
    for event in events(options.count, random.Random(options.seed)):
        print(json.dumps(event, ensure_ascii=False))


def events(count, chance):
    poison, early = count // 3, count * 2 // 3
    for number in range(count):
        order = make_order(number, chance)
        if number == poison:
            order["items"] = []
        if number == early:
            order["price-list-at-attempt"] = 3
        headers = {
            "Content-Type": "application/json",
            "Shop": chance.choice(["web", "app", "store-7"]),
            "Trace-Id": f"{chance.getrandbits(64):016x}",
        }
        yield {"subject": "orders.created", "headers": headers, "payload": order}


def make_order(number, chance):
    country = chance.choice(list(CURRENCIES))
    currency = CURRENCIES[country]
    return {
        "id": f"ORD-{number + 1:06}",
        "customer": {
            "id": f"C-{chance.randrange(1, 400):04}",
            "name": chance.choice(NAMES),
            "new": chance.random() < 0.2,
        },
        "country": country,
        "currency": currency,
        "items": [make_item(currency, article, chance) for article in choose_articles(chance)],
        "note": chance.choice(["", "", "", "Bitte klingeln", "Cadeau 🎁", "急ぎ"]),
    }


def choose_articles(chance):
    return chance.sample(ARTICLES, chance.choice([1, 1, 1, 2, 2, 3, 5]))


def make_item(currency, article, chance):
    sku, name, cents = article
    return {
        "sku": sku,
        "name": name,
        "quantity": chance.choice([1, 1, 1, 1, 2, 2, 3, 10]),
        "unit-price": round(cents * RATES[currency]),
    }


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
