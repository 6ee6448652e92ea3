//! A bounded cache of things that the database owns: one load for each key at a time, absent keys
//! remembered too, and a load that began before an invalidation is handed out but not kept.

use crate::database::DatabaseError;
use quick_cache::sync::Cache;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// So many loads of one kind may be under way at once: whoever asks for random names waits in line.
const LOADS_AT_ONCE: usize = 8;

pub(super) struct Shelf<K, V> {
    present: Cache<K, Arc<V>>,
    absent: Cache<K, ()>,
    invalidations: Mutex<u64>,
    loads: Semaphore,
}

impl<K: Clone + Eq + Hash, V> Shelf<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            present: Cache::new(capacity),
            absent: Cache::new(capacity),
            invalidations: Mutex::new(0),
            loads: Semaphore::new(LOADS_AT_ONCE),
        }
    }

    fn invalidations(&self) -> std::sync::MutexGuard<'_, u64> {
        self.invalidations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn find(
        &self,
        key: &K,
        load: impl AsyncFnOnce() -> Result<Option<V>, DatabaseError>,
    ) -> Result<Option<Arc<V>>, DatabaseError> {
        if let Some(value) = self.present.get(key) {
            return Ok(Some(value));
        }
        if self.absent.get(key).is_some() {
            return Ok(None);
        }
        let guard = match self.present.get_value_or_guard_async(key).await {
            Ok(value) => return Ok(Some(value)),
            Err(guard) => guard,
        };
        let _permit = self.loads.acquire().await;
        let before = *self.invalidations();
        let loaded = load().await?.map(Arc::new);
        let invalidations = self.invalidations();
        if *invalidations == before {
            match &loaded {
                // A placeholder that was removed meanwhile refuses the value, which is right.
                Some(value) => drop(guard.insert(Arc::clone(value))),
                None => self.absent.insert(key.clone(), ()),
            }
        }
        Ok(loaded)
    }

    pub(super) fn forget(&self, key: &K) {
        let mut invalidations = self.invalidations();
        *invalidations = invalidations.wrapping_add(1);
        self.present.remove(key);
        self.absent.remove(key);
    }

    pub(super) fn forget_all(&self) {
        let mut invalidations = self.invalidations();
        *invalidations = invalidations.wrapping_add(1);
        self.present.clear();
        self.absent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_key_is_loaded_once_for_all_who_ask_and_absence_is_remembered() {
        let shelf = Arc::new(Shelf::<String, u32>::new(100));
        let loads = Arc::new(AtomicUsize::new(0));
        let asks = (0..50).map(|_| {
            let (shelf, loads) = (Arc::clone(&shelf), Arc::clone(&loads));
            tokio::spawn(async move {
                let load = async || {
                    loads.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok(Some(7))
                };
                *shelf.find(&"a".to_owned(), load).await.unwrap().unwrap()
            })
        });
        for ask in asks.collect::<Vec<_>>() {
            assert_eq!(ask.await.unwrap(), 7);
        }
        assert_eq!(loads.load(Ordering::SeqCst), 1);
        for _ in 0..2 {
            let load = async || {
                loads.fetch_add(1, Ordering::SeqCst);
                Ok(None)
            };
            assert!(shelf.find(&"b".to_owned(), load).await.unwrap().is_none());
        }
        assert_eq!(loads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_load_that_began_before_an_invalidation_is_not_kept() {
        let shelf = Shelf::<String, u32>::new(100);
        let key = "a".to_owned();
        let overtaken = async || {
            shelf.forget(&key);
            Ok(Some(1))
        };
        assert_eq!(shelf.find(&key, overtaken).await.unwrap().as_deref(), Some(&1));
        assert_eq!(shelf.find(&key, async || Ok(Some(2))).await.unwrap().as_deref(), Some(&2));
        let failing = async || Err(DatabaseError::Corrupt("test"));
        assert_eq!(shelf.find(&key, failing).await.unwrap().as_deref(), Some(&2));
    }

    #[tokio::test]
    async fn a_failed_load_leaves_nothing_behind() {
        let shelf = Shelf::<String, u32>::new(100);
        let key = "a".to_owned();
        assert!(shelf.find(&key, async || Err(DatabaseError::Corrupt("test"))).await.is_err());
        assert_eq!(shelf.find(&key, async || Ok(Some(2))).await.unwrap().as_deref(), Some(&2));
    }
}
