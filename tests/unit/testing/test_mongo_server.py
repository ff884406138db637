"""The tests' own MongoDB: killed, restarted, stepped down, and gone with whoever started it."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import NotPrimaryError, OperationFailure
from support import eventually, is_alive


def test_it_is_a_replica_set_with_change_streams(mongo):
    with mongo.client() as client:
        assert client.admin.command("hello")["setName"]
        with client["any"]["changed"].watch() as stream:
            client["any"]["changed"].insert_one({"_id": "new"})
            assert stream.next()["documentKey"] == {"_id": "new"}


def test_each_url_is_a_database_apart_until_it_is_dropped(mongo):
    for url in (mongo.new_url(), mongo.new_url()):
        with MongoClient(url) as client:
            database = client.get_default_database()
            assert database["kept"].count_documents({}) == 0
            database["kept"].insert_one({"_id": 1})
    mongo.drop()
    with MongoClient(url) as client:
        assert client.get_default_database()["kept"].count_documents({}) == 0


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_what_was_acknowledged_survives_the_end_of_the_server(mongo_to_kill, mongo_url, end):
    with MongoClient(mongo_url, serverSelectionTimeoutMS=20_000) as client:
        durable = WriteConcern("majority", j=True)
        kept = client.get_default_database().get_collection("kept", write_concern=durable)
        for number in range(20):
            kept.insert_one({"_id": number})
        server = psutil.Process(mongo_to_kill.pid)
        getattr(mongo_to_kill, end)()
        assert not is_alive(server)
        mongo_to_kill.start()
        assert [one["_id"] for one in kept.find()] == [*range(20)]


def test_it_fails_what_it_is_told_to_and_nothing_else(mongo_to_kill, mongo_url):
    with MongoClient(mongo_url, retryWrites=False) as client:
        kept = client.get_default_database()["kept"]
        with mongo_to_kill.failing("insert", skip=1, times=1, errorCode=96):
            kept.insert_one({"_id": 1})
            with pytest.raises(OperationFailure):
                kept.insert_one({"_id": 2})
            kept.insert_one({"_id": 3})
        with mongo_to_kill.failing("insert", errorCode=96):
            assert kept.count_documents({}) == 2
        kept.insert_one({"_id": 4})


def test_a_server_that_steps_down_refuses_writes_until_it_is_back(mongo_to_kill, mongo_url):
    with MongoClient(mongo_url, directConnection=True, retryWrites=False) as client:
        kept = client.get_default_database()["kept"]
        with mongo_to_kill.stepped_down(1), pytest.raises(NotPrimaryError):
            kept.insert_one({"_id": 1})
        kept.insert_one({"_id": 1})


STARTER = """
import sys
sys.path[:] = {path!r}
from mongo_server import MongoServer
server = MongoServer().start()
print(server.pid, server.folder, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_a_killed_owner_and_leaves_nothing():
    program = STARTER.format(path=sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        pid, folder = owner.stdout.readline().split()
        server = psutil.Process(int(pid))
        assert is_alive(server)
        owner.send_signal(signal.SIGKILL)
    eventually(lambda: not is_alive(server), timeout=20)
    eventually(lambda: not os.path.exists(folder), timeout=20)
