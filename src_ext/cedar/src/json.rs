//! A check of JSON for repeated keys: a reader would silently take one of two equal keys and lose the other.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::diagnostic::shown;

/// Any JSON, read for its keys only.
struct Once;

/// Check that no object of a text repeats a key.
///
/// # Errors
/// The problem and its place: a repeated key, or a text that is not JSON.
pub(crate) fn no_key_twice(text: &str) -> Result<(), serde_json::Error> {
    serde_json::from_str::<Once>(text).map(drop)
}

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = object.next_key::<String>()? {
            if keys.contains(&key) {
                return Err(A::Error::custom(format!("the key `{}` occurs twice", shown(&key))));
            }
            keys.insert(key);
            object.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::no_key_twice;

    #[test]
    fn equal_keys_are_found_at_any_depth_however_they_are_written() {
        let text = r#"{"a": 1, "b": [{"a": null, "c": {"x": -1, "\u0078": 1.5}}]}"#;
        assert!(no_key_twice(text).unwrap_err().to_string().contains("`x` occurs twice at line 1"));
        assert!(no_key_twice(r#"{"a": true, "b": {"a": "", "A": []}}"#).is_ok());
        assert!(no_key_twice("{").is_err());
    }
}
