"""paho-mqtt for Python, in an event loop of the program's own (poll), where a publish is written by
the call itself. The library's thread (`loop_start`) makes each publish dearer; only the tasks that wait
for each acknowledgement need it, because they are threads.

The rest means the same as in `src/client.rs`, `src/control.rs`, `src/messages.rs` and `src/sample.rs`.
"""

import json
import os
import platform
import resource
import select
import socket
import sys
import threading
import time

import paho.mqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, error_string
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TOPIC = "sensors/building-7/t/001"
WINDOW = 100
LATE = 0.3
# Of one measurement; 10,000 connections take longer.
TIMEOUT, TIMEOUT_IDLE = 8, 60
# How many messages a batch has.
MESSAGES_OF_BATCH = 1000
# How many filters one SUBSCRIBE has at most.
CHUNK = 500


class Job:
    """One measurement, as the command line has it: SCENARIO N PORT."""

    def __init__(self, scenario, n, port):
        self.n = int(n)
        self.port = int(port)
        self.qos, self.size, self.filters = 0, 16, []
        for prefix in ("publish-", "receive-"):
            if scenario.startswith(prefix):
                self.kind, qos, size = scenario.split("-")
                self.qos, self.size = int(qos), int(size)
                break
        else:
            self.kind = scenario
        if scenario.startswith(("filters-", "streams-")):
            self.kind = "filters"
            count = int(scenario.split("-")[1])
            self.filters = [f"sensors/{i}/+" for i in range(count)]
        elif self.kind in ("receive", "late", "ping-pong"):
            self.filters = ["sensors/#"]
        if scenario.startswith("idle-"):
            self.kind = "idle"
        if self.kind in ("awaited", "batches"):
            self.qos = 1
        if self.kind == "late":
            self.size = 1024


class Control:
    """The control connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(b"C")
        assert self.socket.recv(1), "a server"

    def go(self):
        self.socket.sendall(b"g")

    def done(self):
        """Waits until the server has completed all messages."""
        assert self.socket.recv(1), "a server that is done"


def payload(number, size):
    """The payload of message `number`: a fresh buffer."""
    return number.to_bytes(8, "big") + b"x" * (size - 8)


def memory(field):
    """A line of /proc/self/status, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) << 10
    return 0


class Stopwatch:
    """The measured part, from its beginning."""

    def __init__(self):
        self.resident = memory("VmRSS:")
        self.usage = resource.getrusage(resource.RUSAGE_SELF)
        self.start = time.monotonic()

    def stop(self, n):
        wall = time.monotonic() - self.start
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "messages": n,
            "user": usage.ru_utime - self.usage.ru_utime,
            "system": usage.ru_stime - self.usage.ru_stime,
            "wall": wall,
            "peak": memory("VmHWM:"),
            "grown": max(memory("VmRSS:") - self.resident, 0),
        }


def check(code):
    if code != MQTT_ERR_SUCCESS:
        raise RuntimeError(error_string(code))


class Peer:
    """What each peer has, as `Peer` in `src/peers.rs`."""

    def __init__(self, port, id):
        self.completed = self.count = self.sum = 0
        self.subscribed = False
        self.client = client = Client(
            CallbackAPIVersion.VERSION2, id, protocol=MQTTProtocolVersion.MQTTv311
        )
        client.max_inflight_messages_set(WINDOW)
        client.max_queued_messages_set(WINDOW)
        client.on_socket_open = self.on_socket_open
        client.on_disconnect = self.on_disconnect
        client.on_publish = self.on_publish
        client.on_message = self.on_message
        client.on_subscribe = self.on_subscribe
        check(client.connect("127.0.0.1", port))
        self.socket = client.socket()
        self.poll = select.poll()
        self.poll.register(self.socket, select.POLLIN)
        while not client.is_connected():
            self.turn()

    def on_socket_open(self, client, userdata, socket_):
        socket_.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_disconnect(self, client, userdata, flags, reason, properties):
        if reason.is_failure:
            raise RuntimeError(f"the connection is lost: {reason}")

    def on_publish(self, client, userdata, id, reason, properties):
        self.completed += 1

    def on_message(self, client, userdata, message):
        self.count += 1
        self.sum += int.from_bytes(message.payload[:8], "big")

    def on_subscribe(self, client, userdata, id, reasons, properties):
        self.subscribed = True

    def turn(self):
        """Waits for the socket, and reads and writes."""
        client = self.client
        if client.want_write():
            self.poll.modify(self.socket, select.POLLIN | select.POLLOUT)
            ready = self.poll.poll(1000)
            self.poll.modify(self.socket, select.POLLIN)
        else:
            ready = self.poll.poll(1000)
        for _, events in ready:
            if events & select.POLLIN:
                check(client.loop_read())
            if events & select.POLLOUT:
                check(client.loop_write())
        check(client.loop_misc())

    def publish(self, job, control):
        """Publishes all messages, with a window of WINDOW, until the server is done."""
        for number in range(job.n):
            # At QoS 0 a message is complete when it is written.
            while number - self.completed >= WINDOW:
                self.turn()
            if job.kind == "batches" and number % MESSAGES_OF_BATCH == 0:
                while self.completed < number:
                    self.turn()
            self.client.publish(TOPIC, payload(number, job.size), job.qos)
        while self.completed < job.n:
            self.turn()
        control.done()

    def publish_awaited(self, job):
        """Publishes from WINDOW threads, each of which waits for each acknowledgement."""

        def task(first):
            for number in range(first, job.n, WINDOW):
                self.client.publish(TOPIC, payload(number, job.size), 1).wait_for_publish()

        tasks = [threading.Thread(target=task, args=(i,)) for i in range(WINDOW)]
        self.client.loop_start()
        for thread in tasks:
            thread.start()
        for thread in tasks:
            thread.join()

    def subscribe(self, filters, qos):
        for start in range(0, len(filters), CHUNK):
            self.subscribed = False
            self.client.subscribe([(text, qos) for text in filters[start : start + CHUNK]])
            while not self.subscribed:
                self.turn()

    def receive(self, n, delay):
        """Receives `n` messages; the application begins after `delay`."""
        time.sleep(delay)
        while self.count < n:
            self.turn()

    def ping(self, message):
        """Publishes one message at QoS 0 and receives it."""
        wanted = self.count + 1
        self.client.publish(TOPIC, message)
        while self.count < wanted:
            self.turn()

    def disconnect(self):
        check(self.client.disconnect())
        # Does nothing where there is no thread.
        self.client.loop_stop()


def messages(job, control):
    """The scenarios of one connection."""
    peer = Peer(job.port, "bench")
    if job.filters:
        peer.subscribe(job.filters, job.qos)
    times = []
    stopwatch = Stopwatch()
    control.go()
    if job.kind in ("publish", "batches"):
        peer.publish(job, control)
    elif job.kind == "awaited":
        peer.publish_awaited(job)
    elif job.kind == "ping-pong":
        for number in range(job.n):
            message = payload(number, job.size)
            start = time.monotonic()
            peer.ping(message)
            times.append((time.monotonic() - start) * 1e6)
    else:
        peer.receive(job.n, LATE if job.kind == "late" else 0)
    sample = stopwatch.stop(job.n)
    if times:
        times.sort()
        sample["latency"] = [times[job.n // 2], times[job.n * 99 // 100]]
    elif job.filters:
        sample["tally"] = {"count": peer.count, "sum": peer.sum}
    peer.disconnect()
    return sample


def idle(job, control):
    # What the process allocates once is not a connection's.
    first = Peer(job.port, "first")
    stopwatch = Stopwatch()
    control.go()
    peers = [Peer(job.port, f"idle-{i}") for i in range(job.n)]
    sample = stopwatch.stop(job.n)
    del first, peers
    return sample


def connect(job, control):
    Peer(job.port, "first").disconnect()
    stopwatch = Stopwatch()
    control.go()
    for _ in range(job.n):
        Peer(job.port, "connect").disconnect()
    return stopwatch.stop(job.n)


def give_up(timeout):
    print(f"not finished after {timeout}s", file=sys.stderr, flush=True)
    os._exit(1)


def main(words):
    if words == ["version"]:
        print(f"{paho.mqtt.__version__} (Python {platform.python_version()})")
        return
    job = Job(*words)
    timeout = TIMEOUT_IDLE if job.kind == "idle" else TIMEOUT
    timer = threading.Timer(timeout, give_up, [timeout])
    timer.daemon = True
    timer.start()
    control = Control(job.port)
    measure = {"idle": idle, "connect": connect}.get(job.kind, messages)
    print(json.dumps(measure(job, control)), flush=True)
    # Threads of the library and a thousand connections need no orderly end.
    os._exit(0)


main(sys.argv[1:])
