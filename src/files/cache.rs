//! Files in memory, by the paths that they were asked for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::options;
use super::resource::Resource;

/// Files that were asked for of late.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: HashMap<Box<str>, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    resource: Arc<Resource>,
    /// When the folder was last asked.
    checked: Instant,
    /// When a request last asked for it.
    used: Instant,
}

/// What the cache has for a path.
#[derive(Debug)]
pub(super) enum Kept {
    /// Good.
    Good(Arc<Resource>),
    /// Good, if the folder still says so.
    Old(Arc<Resource>),
    Nothing,
}

/// Paths at most. With paths of a kilobyte and the smallest files it is a megabyte.
const ENTRIES_MAX: usize = 1024;
/// Longer paths are not kept.
const PATH_MAX: usize = 1024;

impl Cache {
    pub(super) fn get(&mut self, path: &str, now: Instant, options: &options::Cache) -> Kept {
        let Some(entry) = self.entries.get_mut(path) else { return Kept::Nothing };
        entry.used = now;
        let resource = Arc::clone(&entry.resource);
        let is_good = now.saturating_duration_since(entry.checked) < options.lifetime;
        if is_good { Kept::Good(resource) } else { Kept::Old(resource) }
    }

    /// Keeps what the folder has for a path now, if it is small enough; makes room for it where it must.
    pub(super) fn put(&mut self, path: &str, resource: &Arc<Resource>, now: Instant, options: &options::Cache) {
        self.remove(path);
        let bytes = resource.bytes();
        if !resource.is_in_memory() || bytes > options.bytes || options.bytes == 0 || path.len() > PATH_MAX {
            return;
        }
        while self.bytes + bytes > options.bytes || self.entries.len() >= ENTRIES_MAX {
            let Some(oldest) = self.entries.iter().min_by_key(|(_, entry)| entry.used) else { break };
            let oldest = oldest.0.clone();
            self.remove(&oldest);
        }
        self.bytes += bytes;
        self.entries.insert(path.into(), Entry { resource: Arc::clone(resource), checked: now, used: now });
    }

    pub(super) fn remove(&mut self, path: &str) {
        if let Some(entry) = self.entries.remove(path) {
            self.bytes -= entry.resource.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::resource::Variant;
    use super::*;

    fn resource(len: usize) -> Arc<Resource> {
        let plain = Variant::of_bytes(vec![0; len].leak(), None);
        Arc::new(Resource { content_type: "a/b".into(), plain, coded: Vec::new() })
    }

    #[test]
    fn the_cache_is_bounded_and_what_was_used_last_stays() {
        let options = options::Cache { bytes: 1000, file_max: 500, lifetime: Duration::from_secs(1) };
        let mut cache = Cache::default();
        let start = Instant::now();
        for i in 0..10u32 {
            let now = start + Duration::from_millis(u64::from(i));
            cache.put(&i.to_string(), &resource(300), now, &options);
            assert!(matches!(cache.get("0", now, &options), Kept::Good(_)), "it is used all the time");
            assert!(cache.bytes <= 1000 && cache.entries.len() <= 3);
        }
        assert!(matches!(cache.get("8", start, &options), Kept::Nothing | Kept::Good(_)));
        assert!(matches!(cache.get("1", start, &options), Kept::Nothing));
        let later = start + Duration::from_secs(2);
        assert!(matches!(cache.get("0", later, &options), Kept::Old(_)));
        cache.put("large", &resource(1001), later, &options);
        assert!(matches!(cache.get("large", later, &options), Kept::Nothing));
        cache.put(&"x".repeat(PATH_MAX + 1), &resource(1), later, &options);
        cache.put("0", &resource(900), later, &options);
        assert_eq!((cache.bytes, cache.entries.len()), (900, 1));
        for i in 0..3 * ENTRIES_MAX {
            cache.put(&format!("n{i}"), &resource(0), later, &options);
        }
        assert!(cache.entries.len() <= ENTRIES_MAX);
    }
}
