//! The arguments of a batch's rows.

use crate::batch::{Batch, Chunk};
use crate::binding::{Argument, Binding};
use crate::columns::Column;
use crate::exit::UNDECIDED;
use crate::snapshot::EntityError;
use ztfast_codes::Code;
use ztfast_live::Handle;

impl Batch {
    /// Return whether all entities of so many rows have their arguments' types.
    pub(crate) fn fits(&self, binding: &Binding, columns: &[Column<'_, i64>], rows: usize) -> bool {
        let fits = |late: bool| {
            let types = binding.types.iter().zip(&binding.arguments);
            columns.iter().zip(types).all(|(column, (ty, argument))| {
                let Argument::Entity(number) = *argument else { return true };
                let rows = if column.one().is_some() { rows.min(1) } else { rows };
                (0..rows).filter_map(|row| column.get(row)).all(|handle| {
                    let place = self.shared.place(Handle(handle.cast_unsigned()));
                    // A place that was reused names another entity now, so its row is denied.
                    let is_late = late && self.covered(place, Code::UnknownHandle).is_err();
                    is_late || self.snapshot.entity_of(place, number, ty) != Err(EntityError::WrongType)
                })
            })
        };
        // The second check comes last, as in `look_up`.
        fits(false) || (!self.snapshot.loaded.uids.is_newest() && fits(true))
    }

    /// Fill in the arguments of the rows.
    #[inline]
    pub(crate) fn take_arguments(
        &self,
        binding: &Binding,
        columns: &[Column<'_, i64>],
        first: usize,
        codes: &mut [u8],
        chunk: &mut Chunk,
    ) {
        self.take_arguments_in::<false>(binding, columns, first, codes, chunk);
        // This check comes last, as in `look_up`.
        if !self.snapshot.loaded.uids.is_newest() {
            self.take_arguments_in::<true>(binding, columns, first, codes, chunk);
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_wrap)] // the bits are what counts
    fn take_arguments_in<const LATE: bool>(
        &self,
        binding: &Binding,
        columns: &[Column<'_, i64>],
        first: usize,
        codes: &mut [u8],
        chunk: &mut Chunk,
    ) {
        let width = columns.len();
        let types = binding.types.iter().zip(&binding.arguments);
        for (place, (column, (ty, argument))) in columns.iter().zip(types).enumerate() {
            for (row, code) in codes.iter_mut().enumerate() {
                let mut value = column.get(first + row).ok_or(Code::Corrupt);
                if let Argument::Entity(number) = *argument {
                    value = value.and_then(|handle| {
                        let place = self.shared.place(Handle(handle.cast_unsigned()));
                        if LATE {
                            self.covered(place, Code::UnknownHandle)?;
                        }
                        match self.snapshot.entity_of(place, number, ty) {
                            Ok(entity) => Ok(entity.bits() as i64),
                            Err(EntityError::WrongType) => Err(Code::Corrupt),
                            Err(EntityError::ForeignHandle) => Err(Code::UnknownHandle),
                            Err(_) => Err(Code::BadValue),
                        }
                    });
                }
                match (value, chunk.values.get_mut(row * width + place)) {
                    (Ok(value), Some(slot)) => *slot = value,
                    (Err(denial), _) if *code == UNDECIDED => *code = denial as u8,
                    _ => {}
                }
            }
        }
    }
}
