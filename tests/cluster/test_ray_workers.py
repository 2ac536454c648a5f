"""The connection to a cluster and its end, with actors in this process in place of Ray's."""

import gc
import sys
import tempfile
import types
import weakref

import pytest
from acestep_pack.acestep_core.cluster import ray_workers
from acestep_pack.acestep_core.cluster.pool import WorkerLost


class Maker:
    def steps(self, task, places):
        yield {"made": task}


class Task:
    bundles = {}


class NearRay(types.ModuleType):
    """What of ray is used, with references that are the results themselves."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def __init__(self):
        super().__init__("ray")
        self.inits, self.actors, self.dead = 0, [], set()

    def init(self, address, **how):
        self.inits += 1

    def nodes(self):
        return [{"Alive": True}, {"Alive": True}]

    def cluster_resources(self):
        return {}

    def remote(self, kind):
        def make(*given):
            actor = NearActor(self, kind(*given))
            self.actors.append(weakref.ref(actor))
            return actor

        return types.SimpleNamespace(options=lambda **placed: types.SimpleNamespace(remote=make))

    def get(self, reference, timeout=None):
        if isinstance(reference, Exception):
            raise reference
        return reference

    def wait(self, references, num_returns, timeout):
        assert 1 <= num_returns <= len(references)
        return references, []

    def shutdown(self):
        pass


class NearActor:
    def __init__(self, ray, process):
        self._ray, self._process = ray, process

    def __getattr__(self, name):
        def call(*given):
            lost = self._process in self._ray.dead
            return self._ray.exceptions.RayError("died") if lost else getattr(self._process, name)(*given)

        return types.SimpleNamespace(remote=call)


@pytest.fixture
def ray(monkeypatch, tmp_path):
    monkeypatch.setattr(ray_workers, "find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "ray", near := NearRay())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    return near


def test_the_end_of_a_cluster_leaves_no_files_and_begins_no_other(ray, tmp_path):
    cluster = ray_workers.RayCluster()
    slots = cluster.slots(Maker, None, "cpu", None)
    assert len(slots) == 2 and not list(tmp_path.iterdir())
    assert all(list(slot.run(Task()))[0]["made"] for slot in slots)
    assert len(list(tmp_path.iterdir())) == 2
    cluster.close()
    assert not list(tmp_path.iterdir())
    with pytest.raises(WorkerLost, match="the cluster is closed"):
        list(slots[0].run(Task()))
    with pytest.raises(WorkerLost, match="the cluster is closed"):
        slots[0].ready()
    assert ray.inits == 1


def test_nobody_refers_to_a_lost_worker_whose_device_the_next_one_needs(ray):
    cluster = ray_workers.RayCluster()
    [slot] = cluster.slots(Maker, 1, "cpu", None)
    slot.ready()
    ray.dead.add(ray.actors[0]()._process)
    with pytest.raises(WorkerLost, match="died"):
        list(slot.run(Task()))
    gc.collect()
    assert ray.actors[0]() is None
    assert list(slot.run(Task()))[0]["made"]
    cluster.close()
