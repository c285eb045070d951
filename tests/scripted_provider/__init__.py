"""A scripted AI provider: the true wire of OpenAI, DashScope, Dify and Anthropic, with every way to misbehave.

`python -m tests.scripted_provider --port 9000` serves them all on one port: OpenAI under /v1 (and /compatible-mode/v1),
DashScope native under /api/v1/services/aigc, Dify chat apps under /v1, Anthropic under /anthropic.
`client.ScriptedProvider` starts one for a test.

How an answer behaves is a script, a JSON object. The first of these that there is counts: a script posted to /_script
that matches the request; a directive `[[script {...}]]` in the last user message; the default (--script). Its fields:

* which requests: `match` {path, model, protocol, text}; `times` (0: once when posted, always in a directive;
  -1: always); `name` shows up in the log
* what is said: `text`, or `tokens` (a list, one event each), or `words` (how many); `reasoning`; `tool_calls`
  [{name, arguments, id}] with `tool_fragments` pieces each; `finish_reason`; `usage` (on, off, zero, always, or
  {prompt_tokens, completion_tokens})
* how it is sent, in milliseconds, tokens and bytes: `first_token_ms`, `pace_ms`, `chunk_tokens`, `split_bytes`,
  `read_bytes_per_s`
* HTTP errors: `status`, `error` (a name such as context_length_exceeded), `message`, `body`, `retry_after`, `headers`
* `fault` (see README.md of this folder), with `after` (events) or `fraction`, `seconds`, `size` (bytes), `location`
* Dify only: `app` (chat, agent, new_agent, chatflow), `replace`, `file_url`; with Anthropic: `ping_every` (events);
  Anthropic only: `stop_sequence`

GET /_log?after=seq, GET /_log/{id}?wait=seconds, DELETE /_log, GET /_stats, POST and DELETE /_script are its own.
"""
