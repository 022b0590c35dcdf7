// What the page keeps on this device, in IndexedDB.

const NAME = "cannabis_ml";
const VERSION = 1;

/** Answered photos; feedback that waits for a network; settings by name. */
export type StoreName = "photos" | "queue" | "settings";

let opened: Promise<IDBDatabase> | undefined;

function database(): Promise<IDBDatabase> {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("photos", { keyPath: "id" });
      request.result.createObjectStore("queue", { keyPath: "key" });
      request.result.createObjectStore("settings");
    };
    request.onsuccess = () => {
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run<T>(
  store: StoreName,
  mode: IDBTransactionMode,
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const transaction = (await database()).transaction(store, mode);
  const request = work(transaction.objectStore(store));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
  });
}

export const all = <T>(store: StoreName): Promise<T[]> => run(store, "readonly", (s) => s.getAll());

export const get = <T>(store: StoreName, key: string): Promise<T | undefined> =>
  run(store, "readonly", (s) => s.get(key));

export async function put(store: StoreName, value: unknown, key?: string): Promise<void> {
  await run(store, "readwrite", (s) => s.put(value, key));
}

export async function remove(store: StoreName, key: string): Promise<void> {
  await run(store, "readwrite", (s) => s.delete(key));
}

/**
 * Change a value in one transaction, or remove it.
 *
 * @param change - Given the value kept; returns what is to be kept, undefined for nothing.
 * @returns What `change` returned.
 */
export async function update<T>(
  store: StoreName,
  key: string,
  change: (found: T | undefined) => T | undefined,
): Promise<T | undefined> {
  const transaction = (await database()).transaction(store, "readwrite");
  const kept = transaction.objectStore(store);
  const request = kept.get(key) as IDBRequest<T | undefined>;
  return new Promise((resolve, reject) => {
    let changed: T | undefined;
    request.onsuccess = () => {
      changed = change(request.result);
      if (changed === undefined) kept.delete(key);
      else kept.put(changed);
    };
    transaction.oncomplete = () => resolve(changed);
    transaction.onabort = transaction.onerror = () => reject(transaction.error ?? request.error);
  });
}

export async function clear(store: StoreName): Promise<void> {
  await run(store, "readwrite", (s) => s.clear());
}
