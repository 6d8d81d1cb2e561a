#!/usr/bin/env python3
"""Makes data/events.jsonl: one day's hour in an online shop, one JSON object a line.

Shoppers come in sessions: they view items, put some in the cart and buy a few of those. Some
categories sell more than others, and some items of a category more than the rest. Mobile clients
report late: 2 % of the events are written up to 30 seconds after they happened, more than the 10
seconds that the watermark in shop.sql waits. Ten lines are malformed, as real logs are.

Equal seeds give equal files: `python3 generate.py` makes the bundled one again."""
import json, random, datetime, pathlib

SEED, SESSIONS = 42, 2600
START = datetime.datetime(2024, 6, 1, 12, 0, 0)
CATEGORIES = {'books': (40, 5, 40), 'electronics': (25, 20, 900), 'garden': (15, 3, 120), 'kitchen': (30, 4, 200), 'toys': (35, 3, 60)}
MALFORMED = ['{"event_time": "2024-06-01 12:', 'GET /health 200', '{"user_id": "u12", "item_id": }', '{"event_time": "2024-06-01 12:07:00.000", "user_id": "u007" "item_id"', '}{']

def items(rnd):
    return {c: [(f'{c[:3]}-{n:03}', round(rnd.uniform(low, high), 2)) for n in range(count)] for c, (count, low, high) in CATEGORIES.items()}

def session(rnd, shop, user, start):
    """The events of one visit: (time, event)."""
    now, events = start, []
    for _ in range(rnd.randint(1, 9)):
        category = rnd.choices(list(shop), weights=(30, 18, 8, 20, 24))[0]
        item, price = shop[category][min(int(rnd.expovariate(0.12)), len(shop[category]) - 1)]
        steps = ['view'] + (['cart'] if rnd.random() < 0.35 else [])
        if len(steps) == 2 and rnd.random() < 0.55: steps.append('purchase')
        for step in steps:
            event = {'event_time': None, 'user_id': user, 'event_type': step, 'item_id': item, 'category': category, 'price': price}
            if step != 'view': event['quantity'] = rnd.choices((1, 2, 3), weights=(80, 15, 5))[0]
            events.append((now, event))
            now += datetime.timedelta(milliseconds=rnd.randint(800, 25_000))
    return events

def main():
    rnd = random.Random(SEED)
    shop, lines = items(rnd), []
    for _ in range(SESSIONS):
        user = f'u{int(rnd.betavariate(1, 4) * 900):03}'
        for time, event in session(rnd, shop, user, START + datetime.timedelta(milliseconds=rnd.randint(0, 3_600_000))):
            delay = rnd.uniform(11, 30) if rnd.random() < 0.02 else rnd.uniform(0, 5)
            event['event_time'] = time.isoformat(sep=' ', timespec='milliseconds')
            lines.append((time + datetime.timedelta(seconds=delay), json.dumps(event)))
    lines = [line for _, line in sorted(lines, key=lambda pair: pair[0])]
    for n, text in enumerate(MALFORMED * 2):
        lines.insert((n + 1) * len(lines) // 11, text)
    path = pathlib.Path(__file__).with_name('data') / 'events.jsonl'
    path.write_text('\n'.join(lines) + '\n')
    print(f'{len(lines)} lines in {path}')

main()
