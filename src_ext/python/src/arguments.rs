//! Puts the values of a gate's call into a request, each by the place of its attribute among the gate's arguments.

use crate::context::Pending;
use crate::reader::{EACH, Reader, Refused, is_absent};
use pyo3::prelude::*;
use ztfast_bundle::{Field, Node};
use ztfast_engine::{Arguments, RequestBuilder};
use ztfast_vm::Value;

/// The values of a call, in the order of the arguments.
pub(crate) struct Call<'a, 'py> {
    pub arguments: &'a Arguments,
    pub values: &'a [Bound<'py, PyAny>],
}

/// What a call says about an attribute, or about all attributes of a record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    /// The attribute is not among the arguments.
    Nothing,
    Absent,
    Given,
}

impl<'py> Call<'_, 'py> {
    fn value(&self, slot: u32) -> Option<&Bound<'py, PyAny>> {
        self.values.get(self.arguments.place(slot)?)
    }

    fn said(&self, field: &Field) -> PyResult<Said> {
        match &field.node {
            Node::Leaf { slot, .. } => match self.value(*slot) {
                None => Ok(Said::Nothing),
                Some(value) => Ok(if is_absent(value)? { Said::Absent } else { Said::Given }),
            },
            Node::Record { fields, .. } => {
                fields.iter().try_fold(Said::Nothing, |most, field| Ok(most.max(self.said(field)?)))
            }
        }
    }
}

impl Reader<'_> {
    /// Put a call's values into a request's slots, as [`Self::request`] does with those of a dict.
    pub fn call(
        &self,
        py: Python<'_>,
        fields: &[Field],
        call: &Call<'_, '_>,
        builder: &mut RequestBuilder<'_>,
    ) -> PyResult<Result<(), Refused>> {
        let mut large = Vec::new();
        let read = self.fill_by(py, fields, "", call, builder, &mut large);
        self.filled(py, read, large, builder)
    }

    fn fill_by(
        &self,
        py: Python<'_>,
        fields: &[Field],
        prefix: &str,
        call: &Call<'_, '_>,
        builder: &mut RequestBuilder<'_>,
        large: &mut Vec<Pending>,
    ) -> PyResult<()> {
        for field in fields {
            let path = format!("{prefix}{}", field.name);
            match &field.node {
                Node::Leaf { slot, ty } => match call.value(*slot) {
                    Some(value) if !is_absent(value)? => {
                        self.charge(py, &field.name, EACH)?;
                        self.fill_leaf(*slot, ty, &path, value, builder, large)?;
                    }
                    _ if field.required => return Err(self.lacking(py, fields, prefix, call)?),
                    _ => {}
                },
                Node::Record { presence, fields } => {
                    // An optional record is absent where all of its attributes are.
                    let least = if field.required { Said::Absent } else { Said::Given };
                    if call.said(field)? < least {
                        continue;
                    }
                    self.charge(py, &field.name, EACH)?;
                    if let Some(slot) = presence {
                        builder.put(*slot, Value::bool(true));
                    }
                    self.fill_by(py, fields, &format!("{path}."), call, builder, large)?;
                }
            }
        }
        Ok(())
    }

    /// Return the exception for required attributes that are absent.
    fn lacking(&self, py: Python<'_>, fields: &[Field], prefix: &str, call: &Call<'_, '_>) -> PyResult<PyErr> {
        let mut missing = Vec::new();
        for field in fields.iter().filter(|field| field.required && matches!(field.node, Node::Leaf { .. })) {
            if call.said(field)? != Said::Given {
                missing.push(format!("{prefix}{}", field.name));
            }
        }
        Ok(self.lacks(py, &missing))
    }
}
