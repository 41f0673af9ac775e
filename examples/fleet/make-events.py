#!/usr/bin/env python3
"""Prints reports of trackers as JSON lines: {"subject": …, "headers": {…}, "payload-text": …}.

The same seed gives the same reports. Most are ordinary; some are damaged on the
way, impossible, late, of a tracker that nobody has registered, or worth an
alert. The header `Made-As` says which, for whoever checks that each of them
ends where it should; no handler reads it. Each kind occurs in every 100 reports.
"""

import argparse
import functools
import json
import operator
import os
import random
import sys

# 2026-03-02T06:00:00Z.
START = 1_772_431_200
TRACKERS = [f"TRK-{number:04}" for number in range(1, 7)]
IGNITION, PANIC = 1, 2
LATE_SECONDS = 3600

DAMAGED = ["checksum", "cut", "fields", "letters", "frame"]
IMPOSSIBLE = ["position", "no-fix", "speed", "tank", "ahead"]
ALERTS = ["panic", "towing", "fuel", "harsh", "speeding"]
# In each hundred; the rest is ordinary.
KINDS = {kind: 1 for kind in DAMAGED + IMPOSSIBLE + ALERTS} | {"late": 4, "unknown": 1}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1200, help="number of reports (default: 1200)")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other reports (default: 1)")
    parser.add_argument("--start", type=int, default=START, help="time of the first, in seconds since 1970")
    options = parser.parse_args()
    for event in events(options, random.Random(options.seed)):
        print(json.dumps(event, ensure_ascii=False))


def events(options, chance):
    fleet = [Vehicle(tracker, chance) for tracker in TRACKERS]
    stranger = Vehicle("TRK-9999", chance)
    for number in range(options.count):
        if number % 100 == 0:
            plan = plan_hundred(chance)
        kind = plan[number % 100]
        vehicle = stranger if kind == "unknown" else chance.choice(fleet)
        now = options.start + number * 2
        report = vehicle.drive(now, chance)
        change(report, kind, now)
        line = damage(frame(report), kind)
        yield {
            "subject": f"fleet.raw.{report['tracker']}",
            "headers": {"Gateway-Time": str(now), "Made-As": kind},
            "payload-text": line,
        }


def plan_hundred(chance):
    """The kinds of a hundred reports, in an order by chance."""
    special = [kind for kind, times in KINDS.items() for _ in range(times)]
    plan = special + ["ordinary"] * (100 - len(special))
    chance.shuffle(plan)
    return plan


class Vehicle:
    """A van on its way; what it does is within what is allowed."""

    def __init__(self, tracker, chance):
        self.tracker, self.number = tracker, 0
        self.lat, self.lon = chance.uniform(48.2, 49.3), chance.uniform(11.0, 11.4)
        self.fuel = chance.uniform(60, 95)

    def drive(self, now, chance):
        self.number += 1
        self.lat += chance.uniform(-0.001, 0.001)
        self.lon += chance.uniform(-0.001, 0.001)
        used = chance.uniform(0, 0.05)
        self.fuel = max(20, self.fuel - used)
        return {
            "tracker": self.tracker,
            "number": self.number,
            "time": now - chance.randrange(0, 20),
            "lat": self.lat,
            "lon": self.lon,
            "speed": chance.uniform(0, 80),
            "fuel": self.fuel,
            "fuel-change": -used,
            "acceleration": chance.uniform(-0.35, 0.35),
            "flags": IGNITION,
        }


def change(report, kind, now):
    """Makes an ordinary report one of another kind."""
    report.update({
        "panic": {"flags": IGNITION | PANIC},
        "towing": {"flags": 0, "speed": 24.0},
        "fuel": {"flags": 0, "speed": 0.0, "fuel-change": -12.5},
        "harsh": {"acceleration": -0.82},
        "speeding": {"speed": 181.0},
        "position": {"lat": 148.1},
        "no-fix": {"lat": 0.0, "lon": 0.0},
        "speed": {"speed": 412.0},
        "tank": {"fuel": 140.0},
        "ahead": {"time": now + 7200},
        "late": {"time": now - LATE_SECONDS},
    }.get(kind, {}))


def frame(report):
    body = (
        f"FLT,{report['tracker']},{report['number']},{report['time']},{report['lat']:.6f},{report['lon']:.6f},"
        f"{report['speed']:.1f},{report['fuel']:.1f},{report['fuel-change']:.1f},{report['acceleration']:.2f},"
        f"{report['flags']:X}"
    )
    return f"${body}*{checksum(body):02X}\r\n"


def checksum(body):
    return functools.reduce(operator.xor, body.encode(), 0)


def damage(line, kind):
    """What becomes of a line on a bad way; some of it has a right checksum."""
    body = line[1 : line.index("*")]
    fields = body.split(",")
    damaged = {
        "checksum": lambda: line.replace("FLT,TRK", "FLT,TRX"),
        "cut": lambda: line[: len(line) // 2],
        "fields": lambda: ",".join(fields[:-1]),
        "letters": lambda: ",".join([*fields[:4], "N48.1", *fields[5:]]),
        "frame": lambda: body,
    }.get(kind)
    if damaged is None:
        return line
    text = damaged()
    return f"${text}*{checksum(text):02X}\r\n" if kind in ("fields", "letters") else text


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
