//! Rows of batches whose actions have live attributes.

use crate::batch::{Batch, Chunk};
use crate::binding::{Argument, Binding};
use crate::columns::Principals;
use crate::decide::EffectOnly;
use crate::exit::UNDECIDED;
use crate::live::{Filler, MOST_VALUES};
use crate::working::CallValues;
use ztfast_bundle::ClassPair;
use ztfast_codes::Code;
use ztfast_live::SessionId;
use ztfast_vm::{EntityRef, FOREIGN_STRING, Scratch, StringsView};

impl Batch {
    /// Decide the rows of a chunk that are not denied yet, each with the live attributes of its session.
    #[allow(clippy::too_many_arguments)] // the parts of a batch's memory
    pub(crate) fn decide_live(
        &self,
        binding: &Binding,
        principals: Principals<'_>,
        first: usize,
        codes: &mut [u8],
        chunk: &Chunk,
        scratch: &mut Scratch,
        brought: &mut CallValues,
    ) {
        let Principals::Sessions(sessions) = principals else { return codes.fill(Code::Corrupt as u8) };
        let now_ns = self.shared.now_ns();
        for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == UNDECIDED) {
            let decided = sessions.get(first + row).ok_or(Code::Corrupt).and_then(|session| {
                let mut numbers = [0; MOST_VALUES];
                brought.clear();
                self.row_values(binding, row, chunk, brought, &mut numbers)?;
                let (shared, snapshot) = (&*self.shared, &*self.snapshot);
                let entities =
                    (EntityRef::from_bits(chunk.principals[row]), EntityRef::from_bits(chunk.resources[row]));
                let resource = || Some(entities.1);
                let session = SessionId(session);
                let filler = Filler { shared, snapshot, binding, session, now_ns, resource: &resource };
                let absent = filler.fill(brought, &mut numbers)?;
                let classes = ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
                let numbers = numbers.get(..binding.types.len()).ok_or(Code::TooLarge)?;
                let sink = &mut EffectOnly;
                Ok(binding.walk_live(snapshot, entities, classes, numbers, absent, brought, scratch, sink))
            });
            *code = decided.unwrap_or_else(|code| code) as u8;
        }
    }

    /// Copy a row's values. Texts that the bundle lacks get numbers beside those of the live attributes.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)] // the bits are what counts
    fn row_values(
        &self,
        binding: &Binding,
        row: usize,
        chunk: &Chunk,
        brought: &mut CallValues,
        numbers: &mut [i64],
    ) -> Result<(), Code> {
        let values = chunk.values.get(row * binding.callers..(row + 1) * binding.callers).ok_or(Code::Corrupt)?;
        if numbers.len() < values.len() {
            return Err(Code::TooLarge);
        }
        let texts = StringsView { offsets: &self.text_offsets, bytes: &self.text_bytes };
        for ((number, &value), argument) in numbers.iter_mut().zip(values).zip(&binding.arguments) {
            let bits = value.cast_unsigned();
            *number = if *argument == Argument::Text && bits & FOREIGN_STRING != 0 {
                let text = texts.get(bits as u32).and_then(|text| std::str::from_utf8(text).ok());
                brought.number(text.ok_or(Code::Corrupt)?).ok_or(Code::TooLarge)? as i64
            } else {
                value
            };
        }
        Ok(())
    }
}
