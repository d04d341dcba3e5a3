"""Ingress rules: list, add, remove."""

from __future__ import annotations

from ecompute.contract import requests as ask
from ecompute.contract.resources import Acknowledgement, IngressRule, IngressRuleList
from ecompute_server.core import edits
from ecompute_server.core.record import Rule
from ecompute_server.core.refusal import not_found

from .call import Call
from .editing import edit


async def list_(call: Call[ask.ListIngress]) -> IngressRuleList:
    return IngressRuleList(tuple(_present(rule) for rule in call.container.ingress))


async def add(call: Call[ask.AddIngress]) -> IngressRule:
    port, now = call.request.port, int(call.services.clock())
    target = call.request.target_port or port
    edited = await edit(
        call,
        lambda record: edits.put_rule(record, port, target, now=now),
        lambda edited: _present(edited.result),
    )
    return _present(edited.result)


async def remove(call: Call[ask.RemoveIngress]) -> Acknowledgement:
    edited = await edit(call, lambda record: edits.remove_rule(record, call.request.port))
    if not edited.result:
        raise not_found("ingress rule")
    return Acknowledgement("ok")


def _present(rule: Rule) -> IngressRule:
    return IngressRule(rule.id, rule.port, rule.target_port, rule.created_at)
