"""A store of arrays that circulates in forums. It does not work, and lint says why."""

import numpy as np
import ray


@ray.remote
class PlasmaStoreActor:
    def __init__(self):
        self.refs = {}

    def store(self, key, obj_ref):
        self.refs[key] = obj_ref  # arrives as the array

    def retrieve(self, key):
        return self.refs.get(key)


ray.init()
store_actor = PlasmaStoreActor.options(
    name="PlasmaStoreActor", namespace="PlasmaStore", lifetime="detached", get_if_exists=True
).remote()


class NumpyStore:
    def __init__(self, data: np.ndarray, key: str):
        if not isinstance(data, np.ndarray):
            raise TypeError(type(data))
        self.length = len(data)
        self.data_ref = ray.put(data, _owner=store_actor)
        ray.get(store_actor.store.remote(key, self.data_ref))
        self.key = key

    def retrieve(self) -> np.ndarray:
        obj_ref = ray.get(store_actor.retrieve.remote(self.key))
        return ray.get(obj_ref)

    def __len__(self) -> int:
        return self.length


@ray.remote(max_calls=2)
def generate_and_store_array(key, size):
    arr = np.random.random(size)
    NumpyStore(arr, key)
    return key


key = "my_array"
size = (100, 100)
ray.get(generate_and_store_array.remote(key, size))
store = NumpyStore(np.empty((0,)), key)  # Dummy data, just to use retrieve
arr = store.retrieve()
print(arr.shape)
