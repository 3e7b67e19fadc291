//! A reader for entities in plain JSON, which does not use Cedar: entities with an explicit uid, parents, and
//! attributes of the schema's types in the short notation. Stores of millions are written in this way, and Cedar takes
//! ten times as long for them.
//!
//! This reader refuses nothing. Whatever is not plain (another notation, extension values, records, tags, enumerated
//! types, anything that does not fit the schema) is left to Cedar, which reads it or reports the error.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy_core::validator::{ValidatorEntityTypeKind, ValidatorSchema};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::ir::{self, Datum, Type, Uid};
use crate::schema;
use crate::values::Names;

/// The shapes of plain entities of each type of a schema.
pub(crate) struct Plain {
    types: HashMap<Arc<str>, Shape>,
}

struct Shape {
    name: Arc<str>,
    attributes: HashMap<Arc<str>, (Arc<str>, Kind)>,
    required: usize,
    /// The types of entities that may be parents.
    parents: HashSet<Arc<str>>,
}

/// A type whose values are plain.
enum Kind {
    Bool { required: bool },
    Long { required: bool },
    String { required: bool },
    Entity { required: bool, ty: Arc<str> },
}

impl Kind {
    const fn required(&self) -> bool {
        match self {
            Self::Bool { required }
            | Self::Long { required }
            | Self::String { required }
            | Self::Entity { required, .. } => *required,
        }
    }
}

impl Plain {
    pub fn new(schema: &ValidatorSchema) -> Self {
        let mut names = Names::default();
        let enumerated: HashSet<Arc<str>> = schema
            .entity_types()
            .filter(|ty| matches!(ty.kind, ValidatorEntityTypeKind::Enum(_)))
            .map(|ty| names.ty(ty.name()))
            .collect();
        let mut types: HashMap<Arc<str>, Shape> = HashMap::new();
        for ty in schema.entity_types() {
            let name = names.ty(ty.name());
            let Ok(all) = schema::attributes(ty.attributes(), &mut names) else { continue };
            let kinds: Option<HashMap<_, _>> = all
                .into_iter()
                .map(|(key, attribute)| {
                    let required = attribute.required;
                    let kind = match attribute.ty {
                        Type::Bool => Kind::Bool { required },
                        Type::Long => Kind::Long { required },
                        Type::String => Kind::String { required },
                        Type::Entity(ty) if !enumerated.contains(&ty) => Kind::Entity { required, ty },
                        // An optional attribute of another type does not keep an entity from being plain that lacks it.
                        _ if !required => return Some(None),
                        _ => return None,
                    };
                    Some(Some((key.clone(), (key, kind))))
                })
                .collect::<Option<Vec<_>>>()
                .map(|kinds| kinds.into_iter().flatten().collect());
            let (Some(attributes), false) = (kinds, enumerated.contains(&name)) else { continue };
            let attributes: HashMap<Arc<str>, (Arc<str>, Kind)> = attributes;
            let required = attributes.values().filter(|(_, kind)| kind.required()).count();
            types.insert(name.clone(), Shape { name, attributes, required, parents: HashSet::new() });
        }
        for above in schema.entity_types() {
            let name = names.ty(above.name());
            for below in &above.descendants {
                // An entity of an enumerated type may also be a parent, but then Cedar checks which.
                if let Some(shape) = types.get_mut(&names.ty(below)).filter(|_| !enumerated.contains(&name)) {
                    shape.parents.insert(name.clone());
                }
            }
        }
        Self { types }
    }

    /// Read an entity; `None` if it is not plain.
    pub fn read(&self, raw: &RawValue, names: &mut Names) -> Option<ir::Entity> {
        let entity: Entity<'_> = serde_json::from_str(raw.get()).ok()?;
        let shape = self.types.get(&*entity.uid.ty)?;
        let mut attrs = Vec::with_capacity(entity.attrs.0.len());
        let mut required = 0;
        for (key, json) in entity.attrs.0 {
            let (key, kind) = shape.attributes.get(&*key)?;
            required += usize::from(kind.required());
            let value = match (kind, json) {
                (Kind::Bool { .. }, Json::Bool(b)) => Datum::Bool(b),
                (Kind::Long { .. }, Json::Long(n)) => Datum::Long(n),
                (Kind::String { .. }, Json::Text(text)) => Datum::String(names.get(&text)),
                (Kind::Entity { ty, .. }, Json::Uid(uid)) if *uid.ty == **ty => {
                    Datum::Entity(Uid { ty: ty.clone(), id: Arc::from(&*uid.id) })
                }
                _ => return None,
            };
            attrs.push((key.clone(), value));
        }
        attrs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        if required != shape.required || attrs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        let mut parents = Vec::with_capacity(entity.parents.len());
        for parent in entity.parents {
            let ty = shape.parents.get(&*parent.ty)?;
            parents.push(Uid { ty: ty.clone(), id: names.get(&parent.id) });
        }
        parents.sort_unstable();
        parents.dedup();
        let uid = Uid { ty: shape.name.clone(), id: Arc::from(&*entity.uid.id) };
        Some(ir::Entity { uid, parents, attrs, tags: Vec::new() })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entity<'t> {
    #[serde(borrow)]
    uid: UidRef<'t>,
    #[serde(borrow)]
    attrs: Fields<'t>,
    #[serde(borrow)]
    parents: Vec<UidRef<'t>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UidRef<'t> {
    #[serde(rename = "type", borrow)]
    ty: Cow<'t, str>,
    #[serde(borrow)]
    id: Cow<'t, str>,
}

/// A value that may be plain.
enum Json<'t> {
    Bool(bool),
    Long(i64),
    Text(Cow<'t, str>),
    Uid(UidRef<'t>),
}

/// The members of an object, in the order of the text.
struct Fields<'t>(Vec<(Cow<'t, str>, Json<'t>)>);

impl<'de: 't, 't> Deserialize<'de> for Fields<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("attributes")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    members.push((key, map.next_value()?));
                }
                Ok(Fields(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A text that borrows from the JSON if it has no escapes.
#[derive(Deserialize)]
struct Key<'t>(#[serde(borrow)] Cow<'t, str>);

impl<'de: 't, 't> Deserialize<'de> for Json<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plainly;
        impl<'de> Visitor<'de> for Plainly {
            type Value = Json<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a plain value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
                Ok(Json::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
                Ok(Json::Long(value))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                i64::try_from(value).map(Json::Long).map_err(|_| E::custom("beyond a Long"))
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Json::Text(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Json::Text(Cow::Owned(value.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(serde::de::Error::custom("a set"))
            }

            /// Read `{"type": ..., "id": ...}` or `{"__entity": {...}}`.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut ty, mut id, mut members) = (None, None, 0);
                while let Some(Key(key)) = map.next_key()? {
                    members += 1;
                    match &*key {
                        "type" => ty = Some(map.next_value::<Key<'de>>()?.0),
                        "id" => id = Some(map.next_value::<Key<'de>>()?.0),
                        "__entity" if members == 1 => {
                            let UidRef { ty: of, id: name } = map.next_value()?;
                            (ty, id, members) = (Some(of), Some(name), 2);
                        }
                        _ => return Err(serde::de::Error::custom("a record")),
                    }
                }
                match (ty, id) {
                    (Some(ty), Some(id)) if members == 2 => Ok(Json::Uid(UidRef { ty, id })),
                    _ => Err(serde::de::Error::custom("a record")),
                }
            }
        }
        deserializer.deserialize_any(Plainly)
    }
}
