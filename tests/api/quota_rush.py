#!/usr/bin/python3
"""Many creates at the same time, spread over all controllers, against one quota.

    quota_rush.py URL[,URL...] TOKEN_FILE COUNT JSON

POSTs JSON (%d in it is a number) COUNT times as fast as it can, each to the next of the URLs, and
prints how often which status came: "202 10\\n403 90".
"""
import collections
import concurrent.futures
import sys
import urllib.error
import urllib.request

CLIENTS = 30


def post(url, token, body):
    headers = {"X-Auth-Token": token, "Content-Type": "application/json"}
    request = urllib.request.Request(url, body.encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    urls, token_file, count, body = sys.argv[1].split(","), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        answers = [pool.submit(post, urls[i % len(urls)], token, body.replace("%d", str(i)))
                   for i in range(count)]
        statuses = collections.Counter(answer.result() for answer in answers)
    for status, times in sorted(statuses.items()):
        print(status, times)


main()
