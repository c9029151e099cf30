"""Names of models, compared as servers compare them."""

OLLAMA = ("registry.ollama.ai", "library")
"""Host and namespace of a model of Ollama's that names none."""


def full_name(model: str) -> str:
    """Return an Ollama model's name with all that it implies: host, namespace and tag, in lower case.

    As in Ollama's types/model: `Llama3`, `llama3:latest` and `registry.ollama.ai/library/llama3` are one.
    """
    *place, name = model.strip().lower().rpartition("://")[2].split("/")
    host_and_namespace = [*OLLAMA[: max(2 - len(place), 0)], *place]
    return "/".join([*host_and_namespace, name if ":" in name else f"{name}:latest"])


def may_be(wanted: str, listed: str) -> bool:
    """Return whether a model in a server's list may be the one that is wanted.

    Lists hold names with a prefix (`models/gemini-2.5-flash`, `Qwen/Qwen3-8B`) of models that go by the rest, too.
    """
    one, other = (f"/{full_name(name)}" for name in (wanted, listed))
    bare = [f"/{name.strip().lower()}" for name in (wanted, listed)]
    return one == other or bare[0].endswith(bare[1]) or bare[1].endswith(bare[0])
