#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Updates as clients make them, a get and a put of what came back changed: 16 clients, each with a pod of its own.

    update_load.py URL_OF_THE_PODS TOKEN UPDATES_EACH      ->  "updates-per-second p99-ms failed"

h2load cannot put what it got. This program costs more than the server does: the figure is a lower bound."""
import http.client
import json
import multiprocessing
import ssl
import sys
import time
from urllib.parse import urlsplit

CLIENTS = 16
url, token, updates = urlsplit(sys.argv[1]), sys.argv[2], int(sys.argv[3])
HEADERS = {"authorization": "Bearer " + token, "content-type": "application/json"}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "update-", "annotations": {"count": "-1"}},
       "spec": {"schedulerName": "nobody", "containers": [{"name": "web", "image": "coracle.test/multi:1"}]}}


def client(begin, results):
    connection = http.client.HTTPSConnection(url.hostname, url.port, context=ssl._create_unverified_context())

    def call(method, path, body=None):
        connection.request(method, path, body, HEADERS)
        answer = connection.getresponse()
        return answer.status, answer.read()

    pod = url.path + "/" + json.loads(call("POST", url.path, json.dumps(POD))[1])["metadata"]["name"]
    begin.wait()
    times, failed = [], 0
    for i in range(updates):
        start = time.monotonic()
        body = call("GET", pod)[1]
        body = body.replace(b'"count":"%d"' % (i - 1), b'"count":"%d"' % i, 1)
        failed += call("PUT", pod, body)[0] != 200
        times.append(time.monotonic() - start)
    call("DELETE", pod + "?gracePeriodSeconds=0")
    results.put((times, failed))


begin, results = multiprocessing.Barrier(CLIENTS + 1), multiprocessing.Queue()
for _ in range(CLIENTS):
    multiprocessing.Process(target=client, args=(begin, results)).start()
begin.wait()
start = time.monotonic()
ended = [results.get() for _ in range(CLIENTS)]
rate = CLIENTS * updates / (time.monotonic() - start)
times = sorted(t for part, _ in ended for t in part)
print(f"{rate:.1f} {1000 * times[int(len(times) * 0.99)]:.1f} {sum(failed for _, failed in ended)}")
