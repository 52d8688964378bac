"""The hosted tools: what the core may call and the server runs. Their schemas, and the calculator.

The calculator reads arithmetic as people write it (×, ÷, ^, thousands commas, percent) and nothing else. It works with
50 significant decimal digits and a bounded exponent, so every sum is quick and none grows without limit.
"""

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from decimal import ROUND_FLOOR, Context, Decimal, Overflow, localcontext
from typing import Any

from simpleeval import InvalidExpression, SimpleEval

SEARCH = "search_memory"
CALCULATE = "calculate"
ARGUMENT: Mapping[str, str] = {SEARCH: "query", CALCULATE: "expression"}

MAX_LENGTH = 500
MAX_DEPTH = 50
DIGITS = 12
_CONTEXT = Context(prec=50, Emax=400, Emin=-400)
_SIGNS = str.maketrans({"×": "*", "·": "*", "✕": "*", "÷": "/", "∕": "/", "−": "-", "–": "-", "＝": "=", " ": " "})
# 1,234,567.5 is one number; 12,34 and 0,123 are none, and a comma before a space parts what a function is given.
_GROUPED = re.compile(r"(?<![\w.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_CALLED = re.compile(r"[a-z]\s*\(")
_PERCENT = re.compile(r"((?:\d+\.?\d*|\.\d+))\s*%(?!\s*[\w.(])|((?:\d+\.?\d*|\.\d+))\s*%(?=\s+of\b)")
_OF = re.compile(r"\bof\b")
_ZEROS = re.compile(r"(?<![\w.])0+(?=\d)")


class CalculationError(ValueError):
    """The expression is no arithmetic we do; the message says why."""


def schema(name: str, description: str, about: str) -> dict[str, Any]:
    """The schema of a hosted tool: one text argument."""
    argument = {ARGUMENT[name]: {"type": "string", "description": about}}
    parameters = {"type": "object", "properties": argument, "required": [ARGUMENT[name]]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


SEARCH_MEMORY = schema(
    SEARCH,
    "Search the user's documents. Returns numbered passages, best first.",
    "What to look for, in the words of the question",
)
CALCULATOR = schema(
    CALCULATE,
    "Calculate an arithmetic expression exactly.",
    "Numbers with + - * / ** % and brackets, for example (12 + 30) * 4",
)


class _Percent(Decimal):
    """A percentage: added or taken off it counts from the other number (200 + 10% is 220), else it is a hundredth."""


def _add(a: Decimal, b: Decimal) -> Decimal:
    return a + a * b if isinstance(b, _Percent) and not isinstance(a, _Percent) else a + b


def _subtract(a: Decimal, b: Decimal) -> Decimal:
    return a - a * b if isinstance(b, _Percent) and not isinstance(a, _Percent) else a - b


def _floor(a: Decimal) -> Decimal:
    return a.to_integral_value(ROUND_FLOOR)


def _floor_divide(a: Decimal, b: Decimal) -> Decimal:
    return _floor(a / b)


def _round(a: Decimal, places: Decimal = Decimal(0)) -> Decimal:
    return round(a, int(places))


_OPERATORS: Mapping[type[ast.AST], Callable[..., Decimal]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
    ast.FloorDiv: _floor_divide,
    ast.Mod: lambda a, b: a - b * _floor_divide(a, b),
    ast.Pow: lambda a, b: a**b,
    ast.USub: lambda a: -a,
    ast.UAdd: lambda a: a,
}
_FUNCTIONS: Mapping[str, Callable[..., Decimal]] = {
    "sqrt": Decimal.sqrt,
    "ln": Decimal.ln,
    "log10": Decimal.log10,
    "exp": Decimal.exp,
    "abs": abs,
    "floor": _floor,
    "ceil": lambda a: -_floor(-a),
    "round": _round,
    "min": min,
    "max": max,
    "percent": lambda a: _Percent(a / 100),
}
_NAMES = {
    "pi": Decimal("3.14159265358979323846264338327950288419716939937511"),
    "e": Decimal("2.71828182845904523536028747135266249775724709369996"),
}


def calculate(expression: str) -> str:
    """The result as people write it: 12 significant digits, no trailing zeros. Raises CalculationError."""
    text = _normal(expression)
    try:
        with localcontext(_CONTEXT):
            value = _evaluate(text)
            if not value.is_finite():
                raise Overflow
            return shown(value)
    except ZeroDivisionError:
        raise CalculationError("division by zero") from None
    except ArithmeticError:
        raise CalculationError("the result is too large or not defined") from None
    except InvalidExpression as error:
        raise CalculationError(f"not arithmetic: {error}") from None
    except (SyntaxError, TypeError, ValueError, AttributeError, RecursionError, MemoryError):
        raise CalculationError(f"cannot be read as arithmetic: {expression.strip()!r}") from None


def shown(value: Decimal) -> str:
    """A number for people: integers whole, others rounded, and powers of ten only where digits would not help."""
    if not value:
        return "0"
    if value == value.to_integral_value() and value.adjusted() < 30:
        return f"{value:.0f}"
    rounded = Context(prec=DIGITS).plus(value)
    if -7 < rounded.adjusted() < 30:
        text = f"{rounded:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    digits, _, power = f"{rounded:e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}e{int(power):+d}"


def _normal(expression: str) -> str:
    text = expression.strip().translate(_SIGNS).rstrip("=? ").lstrip("= ")
    if len(text) > MAX_LENGTH:
        raise CalculationError(f"longer than {MAX_LENGTH} characters")
    text = _GROUPED.sub(lambda m: m[0].replace(",", ""), text).replace("^", "**")
    if "," in text and not _CALLED.search(text):
        raise CalculationError(f"a comma can only stand between groups of three digits: {expression.strip()!r}")
    text = _PERCENT.sub(lambda m: f"percent({m[1] or m[2]})", text)
    return _ZEROS.sub("", _OF.sub("*", text))


def _evaluate(text: str) -> Decimal:
    evaluator = SimpleEval(operators=dict(_OPERATORS), functions=dict(_FUNCTIONS), names=dict(_NAMES))
    allowed = (ast.Expr, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Constant)
    evaluator.nodes = {kind: run for kind, run in evaluator.nodes.items() if kind in allowed}
    # The number as it is written, not as binary floating point would store it.
    evaluator.nodes[ast.Constant] = lambda node: _number(ast.get_source_segment(text, node), node.value)
    # Ignored, never made errors: filters are the whole process', and other threads meet them.
    with warnings.catch_warnings(action="ignore"):
        tree = ast.parse(text, mode="eval")
    if _depth(tree.body) > MAX_DEPTH:
        raise CalculationError("too deeply nested")
    return Decimal(evaluator.eval(text, previously_parsed=ast.Expr(tree.body)))


def _number(written: str | None, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or written is None:
        raise TypeError("not a number")
    return +Decimal(written.replace("_", ""))  # the plus applies the bounds


def _depth(node: ast.AST) -> int:
    return 1 + max(map(_depth, ast.iter_child_nodes(node)), default=0)
