//! Caches: each says how large it is, and what it holds fits into it twice.

use super::Resolver;
use crate::config::model::Cache;

pub(super) fn check(resolver: &mut Resolver, cache: &Cache) {
    if cache.size == 0 {
        resolver.error(cache.location(), format!("cache `{}` does not say how large it is", cache.name), "total-max-size 64, in megabytes");
        return;
    }
    if let Some(largest) = cache.largest.as_ref().filter(|largest| *largest.value() > cache.size / 2) {
        let message = format!("`max-object-size` is more than half of cache `{}`", cache.name);
        resolver.error(largest.location(), message, format!("at most {}", cache.size / 2));
    }
}
