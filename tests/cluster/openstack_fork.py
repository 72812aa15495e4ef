#!/usr/bin/python3
"""The unmodified openstack command without its start of a second: a process that has loaded it runs
each command in a fork of its own, with the caller's arguments, environment, folder and descriptors.

    openstack_fork.py serve SOCKET            says "ready"; ends with its parent
    openstack_fork.py ask SOCKET ARGUMENT...  as `openstack ARGUMENT...`"""
import array
import json
import os
import signal
import socket
import sys

GROUPS = ("openstack.cli", "openstack.common", "openstack.compute.v2", "openstack.identity.v3",
          "openstack.image.v2", "openstack.network.v2", "keystoneauth1.plugin",
          "cliff.formatter.list", "cliff.formatter.show")


def load():
    from importlib import metadata

    sys.argv[0] = "openstack"  # it names itself by that
    import openstackclient.shell

    points = metadata.entry_points()
    for group in GROUPS:
        for point in points.select(group=group):
            try:
                point.load()
            except ImportError:
                pass  # a plug-in whose packages are not installed
    return openstackclient.shell.main


def run(main, asked):
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["openstack"] + asked["arguments"]
    try:
        status = main(asked["arguments"])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = 1
    return status or 0


def answer(main, caller):
    descriptors = array.array("i")
    text, extra, _, _ = caller.recvmsg(1, socket.CMSG_SPACE(3 * descriptors.itemsize))
    descriptors.frombytes(extra[0][2])
    with caller.makefile("rb") as rest:
        asked = json.loads(text + rest.readline())
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    caller.sendall(str(run(main, asked)).encode())


def end_with_parent():
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def serve(path):
    end_with_parent()
    main = load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    while True:
        caller, _ = listener.accept()
        if os.fork() == 0:
            end_with_parent()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            answer(main, caller)
            os._exit(0)
        caller.close()


def ask(path, arguments):
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(path)
    text = json.dumps({"arguments": arguments, "environment": dict(os.environ),
                       "folder": os.getcwd()}).encode() + b"\n"
    caller.sendmsg([text[:1]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", (0, 1, 2)))])
    caller.sendall(text[1:])
    status = caller.recv(16)
    sys.exit(int(status) if status else 1)


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    ask(sys.argv[2], sys.argv[3:])
