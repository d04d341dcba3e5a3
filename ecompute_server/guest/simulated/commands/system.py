"""Commands that tell about the machine, set its terminal, or end it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

from ecompute_server.guest.simulated.call import Call, Command, UsageFault
from ecompute_server.guest.simulated.devices import machine_name
from ecompute_server.guest.simulated.terminal import Modes


async def uname(call: Call) -> int:
    options, operands = call.options("amnrsvp")
    if operands:
        raise UsageFault("extra operand")
    facts = {
        "s": "Linux",
        "n": call.spec.identity.hostname,
        "r": "6.1.0-simulated",
        "v": "#1",
        "m": machine_name(call.spec),
    }
    letters = [letter for letter in facts if letter in options or "a" in options]
    if "p" in options:
        letters.append("m")
    await call.print(" ".join(facts[letter] for letter in letters or ["s"]) + "\n")
    return 0


async def nproc(call: Call) -> int:
    await call.print(f"{call.spec.vcpus}\n")
    return 0


async def hostname(call: Call) -> int:
    options, operands = call.options("sf")
    if operands:
        raise UsageFault("the name comes from outside and cannot be set")
    name = call.spec.identity.hostname
    await call.print((name.partition(".")[0] if "s" in options else name) + "\n")
    return 0


async def id_(call: Call) -> int:
    options, _ = call.options("ugnrG")
    whole = "uid=0(root) gid=0(root) groups=0(root)"
    await call.print(("root" if "n" in options else "0" if options else whole) + "\n")
    return 0


async def whoami(call: Call) -> int:
    await call.print("root\n")
    return 0


async def free(call: Call) -> int:
    options, _ = call.options("mkbgh")
    unit = next((size for flag, size in FREE_UNITS.items() if flag in options), 1 << 10)
    total = (call.spec.memory_mb << 20) // unit
    used = total // 10
    header = "".join(f"{name:>12}" for name in ("total", "used", "free", "available"))
    figures = "".join(f"{figure:>12}" for figure in (total, used, total - used, total - used))
    zeros = "".join(f"{0:>12}" for _ in range(3))
    await call.print(f"{'':8}{header}\n{'Mem:':8}{figures}\n{'Swap:':8}{zeros}\n")
    return 0


FREE_UNITS = {"m": 1 << 20, "h": 1 << 20, "k": 1 << 10, "b": 1, "g": 1 << 30}


async def date(call: Call) -> int:
    args = [argument for argument in call.args if argument != "-u"]
    form = args[0][1:] if args and args[0].startswith("+") else "%a %b %e %H:%M:%S UTC %Y"
    now = time.time()
    await call.print(time.strftime(form.replace("%s", str(int(now))), time.gmtime(now)) + "\n")
    return 0


async def stty(call: Call) -> int:
    tty = call.shell.tty
    if tty is None or call.io.input is not tty:
        await call.complain("standard input: Inappropriate ioctl for device")
        return 1
    args = list(call.args)
    while args:
        name = args.pop(0)
        match name:
            case "size":
                await call.print(f"{tty.rows} {tty.cols}\n")
            case "-a":
                shown = " ".join(("" if value else "-") + mode for mode, value in _modes(tty.modes).items())
                await call.print(f"rows {tty.rows}; columns {tty.cols};\n{shown}\n")
            case "raw" | "-cooked":
                tty.modes = Modes(icanon=False, echo=tty.modes.echo, isig=False, icrnl=False, opost=False)
            case "-raw" | "cooked":
                tty.modes = Modes(echo=tty.modes.echo)
            case "sane":
                tty.modes = Modes()
            case "rows" | "cols" | "columns" if args and args[0].isdecimal():
                setattr(tty, "rows" if name == "rows" else "cols", int(args.pop(0)))
            case _ if name.lstrip("-") in _modes(tty.modes):
                setattr(tty.modes, name.lstrip("-"), not name.startswith("-"))
            case _:
                raise UsageFault(f"invalid argument '{name}'")
    return 0


def _modes(modes: Modes) -> dict[str, bool]:
    return {name: getattr(modes, name) for name in ("icanon", "echo", "isig", "icrnl", "opost")}


async def tty_(call: Call) -> int:
    there = call.shell.tty is not None and call.io.input is call.shell.tty
    await call.print("/dev/pts/0\n" if there else "not a tty\n")
    return int(not there)


async def poweroff(call: Call) -> int:
    asyncio.get_running_loop().call_soon(call.shell.machine.power_off)
    return await _end()


async def reboot(call: Call) -> int:
    asyncio.get_running_loop().call_soon(call.shell.machine.reboot)
    return await _end()


async def _end() -> int:
    """Wait for the end of the machine, which is the end of whoever waits."""
    await asyncio.Event().wait()
    return 0


COMMANDS: Mapping[str, Command] = {
    "date": date,
    "free": free,
    "halt": poweroff,
    "hostname": hostname,
    "id": id_,
    "nproc": nproc,
    "poweroff": poweroff,
    "reboot": reboot,
    "stty": stty,
    "tty": tty_,
    "uname": uname,
    "whoami": whoami,
}
