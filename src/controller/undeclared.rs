//! What the served schemas do not declare of the statuses that were written: nobody can keep it but this process.
//!
//! A status is also what Rolecall remembers: which keys it published, what it granted ahead, what it last saw to be true.
//! Where an older CustomResourceDefinition does not declare a field, it is put back from here into what is read, so that each
//! reconcile goes on from the last one, and it is written once the field is declared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::core::object::HasStatus;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::kubernetes::served::ServedSchema;

/// What is remembered longer than every reconcile interval is that of an object which is gone.
const LONGEST_INTERVAL: Duration = Duration::from_hours(25);

/// Statuses of which a part could not be written, by the uid of their object.
#[derive(Default)]
pub struct Undeclared(Mutex<HashMap<String, Kept>>);

struct Kept {
    /// The schema that the status was cut to.
    schema: Arc<ServedSchema>,
    /// The status before it was cut.
    whole: Value,
    at: Instant,
}

impl Undeclared {
    /// Remembers a status that was cut to a schema; nothing where the schema lacks nothing.
    pub fn keep(&self, uid: Option<&str>, schema: &Arc<ServedSchema>, whole: Value) {
        let Some(uid) = uid else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if schema.missing.is_empty() {
            kept.remove(uid);
            return;
        }
        if kept.len() >= 1_024 && kept.len().is_power_of_two() {
            kept.retain(|_, kept| kept.at.elapsed() < LONGEST_INTERVAL);
        }
        kept.insert(uid.to_owned(), Kept { schema: schema.clone(), whole, at: Instant::now() });
    }

    /// The schema that the status of an object was last cut to, if that lacks anything.
    pub fn cut_to(&self, uid: Option<&str>) -> Option<Arc<ServedSchema>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(uid?).map(|kept| kept.schema.clone())
    }

    /// Puts back into the status of an object what could not be written of it.
    pub fn restore<K>(&self, object: &mut K)
    where
        K: Resource + HasStatus<Status: Serialize + DeserializeOwned>,
    {
        let Some(uid) = object.uid() else { return };
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Kept { schema, whole, .. }) = kept.get(&uid) else { return };
        let status = object.status().map_or_else(|| Ok(Value::Object(serde_json::Map::new())), serde_json::to_value);
        let restored = status.and_then(|mut status| {
            schema.restore(&mut status, whole);
            serde_json::from_value(status)
        });
        match restored {
            Ok(restored) => *object.status_mut() = Some(restored),
            Err(error) => tracing::debug!(%error, "a status could not be restored"),
        }
    }
}
