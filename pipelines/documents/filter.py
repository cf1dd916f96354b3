"""The user's own filter: a function of a document's text, named ``module:function``.

It gets the text (str) and returns True to keep the document, or the reason to drop it, a short text
that is counted by name in the manifest (False counts as "refused"). It must depend on the text alone:
then what is kept does not depend on the runner, on retries or on the order of the input.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable
from functools import lru_cache

from pipelines.errors import UserError


@lru_cache(maxsize=8)
def load_filter(name: str) -> Callable[[bytes], str | None]:
    """The filter as a function of UTF-8 text: None to keep it, else the reason as a counter's name.

    Modules are found as Python finds them, and in the working folder. Raises UserError if there is
    no such function; the function returned does if the filter fails or returns something else.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name.isidentifier():
        raise UserError(
            f"--filter {name}: expected module:function, such as my_filters:long_enough"
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name, None)
    except ImportError as error:
        raise UserError(
            f"--filter {name}: cannot import {module_name} ({error}); put it into the working folder "
            "or install it"
        ) from None
    except (Exception, SystemExit) as error:
        raise UserError(
            f"--filter {name}: importing {module_name} raised {_describe(error)}; correct the module"
        ) from None
    if function is None:
        raise UserError(
            f"--filter {name}: module {module_name} has no {function_name}; check the name"
        )

    def check(text: bytes) -> str | None:
        try:
            verdict = function(text.decode())
        except (Exception, SystemExit) as error:
            raise UserError(
                f"--filter {name}: raised {_describe(error)} on a document that "
                f"begins {text[:60].decode(errors='ignore')!r}; correct the function"
            ) from error
        if verdict is True:
            return None
        if verdict is False:
            return "refused"
        if isinstance(verdict, str) and verdict:
            return re.sub(r"\W+", "_", verdict).strip("_") or "refused"
        raise UserError(
            f"--filter {name}: returned {verdict!r}; it must return True to keep a document, or the "
            "reason to drop it as text"
        )

    return check


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__} ({' '.join(str(error).split())})"
