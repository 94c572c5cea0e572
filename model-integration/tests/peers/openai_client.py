"""The official client against a server; prints what it got as JSON. Usage: openai_client.py URL NAME"""

import json
import sys

import openai


def main(url: str, name: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sesame", max_retries=0)
    settings = {"model": name, "temperature": 0, "max_tokens": 12}
    options = {"stream": True, "stream_options": {"include_usage": True}}
    found = {"models": [model.id for model in client.models.list()]}

    prompt = {"prompt": "Once upon a time", "logprobs": 2}
    whole = client.completions.create(**settings, **prompt)
    found["completion"] = whole.choices[0].text
    found["completion_tokens"] = whole.usage.completion_tokens
    found["logs"] = len(whole.choices[0].logprobs.token_logprobs)
    pieces = list(client.completions.create(**settings, **prompt, **options))
    found["completion_pieces"] = "".join(p.choices[0].text for p in pieces if p.choices)
    found["completion_usage"] = pieces[-1].usage.completion_tokens

    chat = {"messages": [{"role": "user", "content": "Tell a story."}]}
    whole = client.chat.completions.create(**settings, **chat, logprobs=True, top_logprobs=3)
    found["chat"] = whole.choices[0].message.content
    found["chat_role"] = whole.choices[0].message.role
    found["chat_logs"] = [len(token.top_logprobs) for token in whole.choices[0].logprobs.content]
    pieces = list(client.chat.completions.create(**settings, **chat, **options))
    texts = [p.choices[0].delta.content or "" for p in pieces if p.choices]
    found["chat_pieces"] = "".join(texts)
    found["chat_usage"] = pieces[-1].usage.completion_tokens

    errors = {}
    for error, change in [
        ("BadRequestError", {"max_tokens": -1}),
        ("NotFoundError", {"model": "other"}),
    ]:
        try:
            client.completions.create(**{**settings, "prompt": "x", **change})
        except openai.APIStatusError as raised:
            errors[error] = [type(raised).__name__, raised.body["message"]]
    try:
        openai.OpenAI(base_url=f"{url}/v1", api_key="no").models.list()
    except openai.APIStatusError as raised:
        errors["AuthenticationError"] = [type(raised).__name__, raised.body["message"]]
    found["errors"] = errors
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
