"""The peer of the benchmark pedalboard_peer: pedalboard (PyPI), which hosts VST3 in its own process.

    python pedalboard_peer.py IN.wav OUT.wav BUFFER_SIZE ROUNDS PLUGIN.vst3...

Renders IN.wav through the plugins in series and writes 32-bit float to OUT.wav. Prints, as its last
line, JSON: the version, and the seconds of each round, loading excluded.
"""

import json
import struct
import sys
import time

import numpy as np
import pedalboard


def read(path):
    """The frames of a WAV file of 32-bit float samples, as Sandrack's benchmark writes it."""
    with open(path, "rb") as file:
        data = file.read()
    at, rate, channels = 12, 0, 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack("<I", data[at + 4 : at + 8])[0]
        body = data[at + 8 : at + 8 + size]
        if name == b"fmt ":
            channels, rate = struct.unpack("<HI", body[2:8])
        elif name == b"data":
            samples = np.frombuffer(body, dtype="<f4")
            return np.ascontiguousarray(samples.reshape(-1, channels).T), rate
        at += 8 + size + size % 2
    raise ValueError(f"{path}: no audio in it")


def write(path, audio, rate):
    """A WAV file of 32-bit float samples."""
    channels, data = audio.shape[0], audio.T.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
    with open(path, "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", 20 + len(form) + len(data)) + b"WAVE")
        file.write(b"fmt " + struct.pack("<I", len(form)) + form)
        file.write(b"data" + struct.pack("<I", len(data)) + data)


def main():
    source, target, buffer_size, rounds, *chain = sys.argv[1:]
    audio, rate = read(source)
    seconds = []
    for _ in range(int(rounds)):
        # Loaded anew for each round: a plugin that has run is not what it was.
        board = pedalboard.Pedalboard([pedalboard.load_plugin(path) for path in chain])
        began = time.perf_counter()
        out = board.process(audio, rate, buffer_size=int(buffer_size), reset=True)
        seconds.append(time.perf_counter() - began)
    write(target, out, rate)
    print(json.dumps({"version": pedalboard.__version__, "seconds": seconds}))


main()
