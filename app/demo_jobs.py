"""What the demo starts with: its two people, and jobs on real input for every agent."""

from __future__ import annotations

from typing import Any

from app.demo_agents import changelog, contacts, tables

THREAD = """\
From: Inês Duarte <ines.duarte@harbour-studio.example>
To: Tom Okafor <tom@okafor-build.example>
Cc: Mei Tanaka <mei.tanaka@lightworks.example>
Subject: Re: Re: Opening night, who does what

Tom, the doors are yours then. Mei brings the lamps on Thursday, and
PRESS@HARBOUR-STUDIO.example writes the invitation.

Inês Duarte
Harbour Studio, mobile +44 7700 900123

> From: Tom Okafor <tom@okafor-build.example>
> To: Ines <Ines.Duarte@harbour-studio.example>, press@harbour-studio.example
> Cc: Mei Tanaka <mei.tanaka@lightworks.example>
>
> I can have both doors hung by the 14th if somebody lets me in. Call me.
>
> Tom Okafor | Okafor Build | 020 7946 0018
>
> > From: "Tanaka, Mei" <mei.tanaka@lightworks.example>
> > To: ines.duarte@harbour-studio.example
> >
> > Three lamps are enough, I have measured it twice (order 2024-118).
> >
> > Mei Tanaka
> > Lightworks, (01632) 960 071
"""

SHORT_THREAD = """\
From: Ana Ruiz <ana@ruiz-vineyards.example>
To: Orders <orders@corkline.example>

Please send 2,000 corks to the usual address.

Ana Ruiz, +44 7700 900461
"""

EXPENSES = """\
date,item,quantity,price
2026-03-02,paint,12,14.90
2026-03-03,brushes,8,6.50
2026-03-05,ladder,1,119.00
2026-03-06,timber,14,11.20
2026-03-09,screws,20,3.15
2026-03-11,paint,10,14.90
2026-03-12,lamps,3,48.00
2026-03-16,cable,900,1.10
"""

NOTES = """\
Harbour 2.4.0, released 2026-05-18

This one is about calendars, and about cleaning up.

* Calendar feeds can be subscribed to: added an .ics address for every room
* New: colour per room
- Fixed a crash when a booking ends at midnight
- BREAKING: removed the old CSV export, use /export instead
- Rooms load three times faster
"""


def _checked(text: str, expression: str, *, required: bool = True) -> dict[str, Any]:
    return {"text": text, "required": required, "check": {"expression": expression}}


CONTACT_CRITERIA = [
    _checked(
        "Nobody is listed twice",
        "answer.contacts.all(c, answer.contacts.filter(d, d.email == c.email).size() == 1)",
    ),
    {
        "text": "All four people and desks are there, each with a usable address",
        "check": {
            "jsonSchema": {
                "properties": {
                    "contacts": {
                        "minItems": 4,
                        "maxItems": 4,
                        "items": {"properties": {"email": {"type": "string", "format": "email"}}},
                    }
                }
            }
        },
    },
    _checked("The three phone numbers from the signatures are there", "size(answer.phones) == 3"),
    _checked(
        "No phone number is invented: each stands in the thread",
        "answer.phones.all(p, job.input.thread.contains(p.number))",
    ),
]
JUDGED_CRITERION = {
    "text": "Names are written as people write them in a letter, such as “Mei Tanaka”",
    "required": False,
}

# The one that is executed before your eyes.
SHOWN_JOB: dict[str, Any] = {
    "title": "Contacts from the opening night thread",
    "description": "Everybody in this e-mail thread, once, with name, address and phone number.",
    "input": {"thread": THREAD},
    "acceptanceCriteria": CONTACT_CRITERIA,
}

# (job, the name of its agent or None, whether it is executed at the start)
OTHER_JOBS: list[tuple[dict[str, Any], str | None, bool]] = [
    (
        {
            "title": "What the renovation has cost",
            "description": "Totals of the expenses, and whatever looks like a slip.",
            "input": {"csv": EXPENSES},
            "acceptanceCriteria": [
                _checked("Every row is counted", "answer.rows == 8"),
                _checked(
                    "Quantity and price have totals",
                    "['quantity', 'price'].all(n, answer.columns.exists(c, c.name == n))",
                ),
                _checked(
                    "The 900 m of cable are noticed",
                    "answer.columns.exists(c, c.outliers.exists(o, o.value == 900.0))",
                ),
            ],
        },
        tables.NAME,
        True,
    ),
    (
        {
            "title": "Changelog of Harbour 2.4.0",
            "description": "Sort the release notes, and mark what breaks something.",
            "input": {"notes": NOTES},
            "acceptanceCriteria": [
                _checked("The version is right", "answer.version == '2.4.0'"),
                _checked("The removed export is marked as breaking", "answer.breaking.exists(b, b.contains('CSV'))"),
            ],
        },
        changelog.NAME,
        False,
    ),
    (
        {
            "title": "Who ordered the corks?",
            "description": "The sender and how to call her.",
            "input": {"thread": SHORT_THREAD},
            "acceptanceCriteria": [_checked("Her phone number is there", "size(answer.phones) == 1")],
        },
        contacts.NAME,
        True,
    ),
    (
        {
            "title": "Translate the invitation",
            "description": "No agent does this yet: an admin could register one.",
            "input": {"text": "You are invited."},
            "acceptanceCriteria": [_checked("It is not empty", "size(answer.text) > 0")],
        },
        None,
        False,
    ),
]
