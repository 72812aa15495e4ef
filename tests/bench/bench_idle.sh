#!/bin/bash
# What an idle cloud costs: memory of an agent and of a controller (vlingd alone, etcd beside it) and
# the processor time of the whole lab. Asserts nothing.
#
#   tests/bench/bench_idle.sh [SECONDS]       default: 30
. "$(dirname "$0")/../cluster/lib.sh"
seconds=${1:-30}

lab_start >/dev/null
sleep 15 # what a start brings with it is over
python3 - "$seconds" <<'END'
import os, statistics, subprocess, sys, time

def lab_processes():
    """(name, host, pid) of what belongs to the lab's hosts."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = open(f"/proc/{pid}/comm").read().strip()
            words = open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
        except OSError:
            continue
        guard = b"--guard" in words
        if not guard and not (name == "vlingd" and b"--config" in words) and name != "etcd":
            continue
        host = subprocess.run(["nsenter", "-t", pid, "-u", "hostname"], capture_output=True,
                              text=True).stdout.strip()
        kind = "guard" if guard else name
        found.append((kind, host, pid))
    return found

def memory(pid):
    """Resident and proportional KiB."""
    values = {}
    for line in open(f"/proc/{pid}/smaps_rollup"):
        words = line.split()
        if words[0] in ("Rss:", "Pss:"):
            values[words[0]] = int(words[1])
    return values["Rss:"], values["Pss:"]

def ticks(pid):
    words = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(words[11]) + int(words[12])

processes = lab_processes()
seconds = float(sys.argv[1])
before = {pid: ticks(pid) for _, _, pid in processes}
time.sleep(seconds)
spent = {pid: (ticks(pid) - before[pid]) / os.sysconf("SC_CLK_TCK") for _, _, pid in processes}
controllers = {host for kind, host, _ in processes if kind == "etcd"}

def row(text, chosen, goal):
    figures = [memory(pid) for pid in chosen]
    if not figures:
        return
    rss = statistics.median(f[0] for f in figures) / 1024
    pss = statistics.median(f[1] for f in figures) / 1024
    cpu = sum(spent[pid] for pid in chosen) / seconds * 100
    print(f"{text:28} {len(chosen):3} {rss:8.1f} {pss:8.1f} {cpu:8.2f}   {goal}")

print(f"{'idle for ' + str(int(seconds)) + ' s':28} {'n':>3} {'RSS MiB':>8} {'PSS MiB':>8} "
      f"{'CPU %':>8}   goal")
daemons = [(host, pid) for kind, host, pid in processes if kind == "vlingd"]
row("agent (vlingd)", [p for h, p in daemons if h not in controllers], "16 MiB")
row("controller (vlingd)", [p for h, p in daemons if h in controllers], "32 MiB")
row("its etcd", [p for k, _, p in processes if k == "etcd"], "")
row("guard", [p for k, _, p in processes if k == "guard"], "")
total = sum(spent.values()) / seconds / os.cpu_count() * 100
print(f"whole lab: {total:.1f} % of the machine's {os.cpu_count()} processors; goal 10 %")
END
