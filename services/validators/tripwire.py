"""Whether an answer looks as if it spoke to its judge, as far as code can tell without a model.

A tripwire, not a filter: what trips it is judged again and passes only unanimously (services/validators/votes.py).
A false alarm costs one more call and no verdict, so the patterns are wide; what they miss is left to the model's own
`addresses_grader`. All of them are linear: their repetitions are bounded, and no two neighbours match the same text.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING

from services.evidence import strings, unescaped
from services.strict_json import canonical

if TYPE_CHECKING:
    from services.ports import JsonValue

_WORDS = r"\W+(?:\w+\W+){0,6}?"
_JUDGE = (
    r"(?:auto)?(?:graders?|evaluators?|validators?|assessors?|adjudicators?|reviewers?|judges?|llms?|language models?)"
)
_RULES = r"(?:instructions?|rules?|prompts?|criteria|criterion|guidelines?|rubrics?|directions?|constraints?)"
_CRITERIA = r"(?:acceptance )?(?:criteria|criterion|requirements?|checks?|conditions?)"

_PATTERNS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "it holds a finished judgement": (
            r"[\"']?verdict[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:pass|fail|unsure|accept)|addresses_grader|[\"']nonce[\"']\s{0,3}:"
        ),
        "it gives new instructions": (
            rf"\b(?:ignore|disregard|forget|override|bypass|supersede)\b{_WORDS}(?:{_RULES}|above|previously)\b"
            r"|\b(?:new|updated|revised|special|hidden) (?:instructions?|rules?|rubric|protocol|criteria)\b"
            r"|\b(?:grading|evaluation|validation|judging|scoring|review)"
            r" (?:protocol|instructions?|override|note|policy)\b"
        ),
        "it imitates a conversation": (
            r"<\|?\s?/?(?:im_start|im_end|system|assistant|endoftext|eot_id)|\[/?inst\]|<</?sys>>|</?(?:submission|document)>"
            r"|(?:^|[\n\"'#*>])\s{0,3}(?:system|assistant|developer)(?: (?:message|prompt|note|override))?\s{0,2}:"
            r"|\bsystem (?:prompt|message|override|notice)\b"
        ),
        "it speaks to its judge": (
            rf"\b(?:note|message|attention|dear|hello|hey|reminder|memo|notice)\b\W+(?:\w+\W+){{0,3}}?{_JUDGE}\b"
            rf"|\b(?:{_JUDGE}|you|as an ai)\b[^.\n]{{0,60}}"
            r"\b(?:must|should|shall|please|have to|are required to|need to)\b"
            r"[^.\n]{0,60}\b(?:pass|accept|approve|mark|score|rate|verdict|grade)\b"
            r"|\b(?:mark|score|rate|grade|judge|treat|consider|report|return|output|answer|respond)\b[^.\n]{0,40}"
            r"\b(?:as|with)\b\W{0,3}(?:\w+\W{1,3}){0,2}?(?:pass|passed|passing|met|accepted|approved|full marks)\b"
        ),
        "it states its own verdict": (
            rf"\b(?:all|every|each)\b(?: of)?(?: the| its)? {_CRITERIA}\b[^.\n]{{0,30}}"
            r"\b(?:met|satisfied|fulfilled|passed|passes|pass)\b"
            rf"|\b(?:meets|satisfies|fulfil?ls|passes|met)\b(?: all| every| each)(?: of)?(?: the| its)? {_CRITERIA}\b"
            r"|\b(?:signed|sign)[- ]off by\b|\b(?:reviewed|checked|verified|certified|approved)\b[^.\n]{0,40}"
            r"\b(?:quality assurance|qa|compliance|the client|the customer|independently|by hand)\b"
            r"|\bquality assurance\b[^.\n]{0,60}\b(?:reviewed|checked|verified|certified|approved|passed)\b"
            r"|\b(?:verdict|result|status|assessment)\b[^\n]{0,120}[:=]\s{0,3}\W?pass(?:ed)?\b"
            r"|\b(?:pre-?)(?:approved|verified|validated)\b|\b(?:verdict|grade|score)\s{0,2}(?:is|:|=)\s{0,2}\W?(?:pass|10|100)"
        ),
        # The same in other languages: whom to ignore, who judges, or that it has passed.
        "it speaks to its judge in another language": (
            r"\b(?:ignorier\w*|vergiss|missachte\w*)\b[^.\n]{0,60}\b(?:anweisung|regel|vorgabe|kriteri)"
            r"|\b(?:ignor\w{1,6}|olvid\w{1,6}|esque\w{1,6}|oubli\w{1,6}|dimentic\w{1,4}|negeer|vergeet|zignoruj)\b[^.\n]{0,60}"
            r"\b(?:instruc|instruç|instrui|istruzion|consign|reglas|regras|règles|regole|criter|critèr|polecen|regels)"
            r"|\b(?:alle|sämtliche)\b[^.\n]{0,30}\bkriterien\b[^.\n]{0,40}\berfüllt"
            r"|\b(?:an den|liebe[rs]?|sehr geehrte[rs]?) (?:prüf|gutacht|bewert)\w{0,12}"
            r"|\burteil\b[^.\n]{0,30}\b(?:pass|bestanden)"
            r"|\b(?:tous les crit[èe]res|todos los criterios|todos os critérios|tutti i criteri|alle criteria)\b"
            r"|\b(?:correcteur|évaluateur|examinateur|evaluador|calificador|avaliador|valutatore|beoordelaar)\b"
            r"|(?:все критерии|всем критериям|оценщик|проверяющ)"
            r"|(?:符合|满足|滿足)[^。\n]{0,6}(?:所有|全部)[^。\n]{0,6}(?:标准|標準|要求|条件)|(?:判定|评为|評為)[^。\n]{0,6}(?:pass|通过|通過|合格)"
            r"|すべての(?:基準|条件|要件)[^。\n]{0,10}満た|모든 (?:기준|조건)[^.\n]{0,10}(?:충족|만족)"
            r"|(?:игнорир|проигнорир|забудь)[^.\n]{0,60}(?:инструкц|правил|указан|критер)"
            r"|(?:忽略|无视|無視|忘记|忘記)[^。\n]{0,20}(?:指令|指示|说明|規則|规则|标准|標準)"
            r"|(?:指示|命令|ルール|規則)[^。\n]{0,10}(?:無視|忘れ)|(?:评分|评审|评判|審査|採点)(?:者|员|員|人|模型)"
            r"|(?:지시|명령|규칙)[^.\n]{0,10}(?:무시|잊)|تجاهل[^.\n]{0,40}(?:التعليمات|القواعد)"
        ),
    }.items()
}

# Only what has no use in text: joiners shape scripts and emoji, and one mark of a byte order is an accident.
_HIDDEN = re.compile(
    r"[\U000e0000-\U000e007f\u202a-\u202e\u2066-\u2069]|(?:[\u200b\u2060\u2062-\u2064\ufeff].{0,80}?){3}", re.DOTALL
)
_PADDING = re.compile(r"\s{400}|(\S)\1{400}")
_OPENER = re.compile(
    r"(?:thought process|thoughts?|reasoning|solution|answer|explanation|analysis|result|final answer"
    r"|let(?:'|\u2019)?s (?:solve|think|go)[^.\n]{0,60}|step[- ]by[- ]step)\W{0,3}"
)
_LONGEST_OPENER = 80
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_MOST_BLOBS = 50
_LONGEST_BLOB = 20_000

# Letters of other scripts that look like Latin ones.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһкмнтвգԛԝαεορυχικντβηοѵ",
    "aeopcyxijsdhkmhtbgqwaeopuxikvtbnov",
)


def suspicion(answer: JsonValue) -> str | None:
    """Say why the answer may be trying to sway its judge, or nothing where nothing shows."""
    raw = "\n".join(strings(answer))
    if not isinstance(answer, str):
        # As it stands too: a finished judgement may be the answer itself.
        raw = f"{raw}\n{canonical(answer)}"
    if "\\" in raw:
        # An answer may hold JSON or source text, in which its words stand escaped.
        raw = f"{raw}\n{unescaped(unescaped(raw))}"
    if _HIDDEN.search(raw):
        return "it holds hidden characters"
    if _PADDING.search(raw):
        return "it is padded"
    if _says_nothing(answer, raw):
        return "it says nothing"
    for text in _readings(raw):
        for reason, pattern in _PATTERNS.items():
            if pattern.search(text):
                return reason
    return None


def _says_nothing(answer: JsonValue, raw: str) -> bool:
    """A lone mark or the beginning of an answer: known to win over judges that never got to see a work."""
    if not isinstance(answer, str):
        return False
    text = " ".join(raw.split()).casefold()
    if not any(character.isalnum() for character in text):
        return True
    return len(text) <= _LONGEST_OPENER and (text.endswith(":") or _OPENER.fullmatch(text) is not None)


def _readings(raw: str) -> Iterator[str]:
    """The text as a model may read it: plain, with look-alikes undone, and what it carries encoded."""
    plain = _plain(raw)
    yield plain
    undone = plain.translate(_LOOK_ALIKES)
    if undone != plain:
        yield undone
    for count, blob in enumerate(_BASE64.finditer(raw)):
        if count >= _MOST_BLOBS:
            return
        text = blob[0][:_LONGEST_BLOB].rstrip("=")
        try:
            decoded = base64.b64decode(text[: len(text) // 4 * 4], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        yield _plain(decoded)


def _plain(text: str) -> str:
    composed = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in composed if unicodedata.category(character) != "Cf")
