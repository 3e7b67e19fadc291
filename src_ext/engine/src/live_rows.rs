//! Rows of batches whose actions have live attributes.

use crate::batch::{Batch, Chunk};
use crate::binding::{Argument, Binding};
use crate::checks::Answers;
use crate::columns::Principals;
use crate::decide::EffectOnly;
use crate::exit::UNDECIDED;
use crate::lines::WALK;
use crate::live::{Filler, MOST_VALUES};
use crate::live_attributes::LiveAttribute;
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
        // Rows of one session have the same live attributes, but for the markets of their resources.
        let is_one = sessions.one().is_some() && !binding.live.contains(&LiveAttribute::Market);
        let (mut numbers, mut filled, mut bare) = ([0; MOST_VALUES], None, brought.mark());
        for (row, code) in codes.iter_mut().enumerate().filter(|(_, code)| **code == UNDECIDED) {
            let entities = (EntityRef::from_bits(chunk.principals[row]), EntityRef::from_bits(chunk.resources[row]));
            let mut decide = || {
                let answers = if let Some(answers) = filled {
                    brought.back_to(&bare);
                    answers
                } else {
                    let session = SessionId(sessions.get(first + row).ok_or(Code::Corrupt)?);
                    brought.clear();
                    let answers = self.fill(binding, session, entities.1, now_ns, brought, &mut numbers)?;
                    bare = brought.mark();
                    answers
                };
                filled = Some(answers).filter(|_| is_one);
                self.row_values(binding, row, chunk, brought, &mut numbers)?;
                let numbers = numbers.get(..binding.types.len()).ok_or(Code::TooLarge)?;
                let classes = ClassPair { principal: chunk.classes[0][row], resource: chunk.classes[1][row] };
                let by_table = |cell| binding.table.decide_by(cell, numbers, answers);
                let code = binding.table.cell(classes).map_or(WALK, by_table);
                if code != WALK {
                    return Ok(code);
                }
                let (snapshot, sink) = (&*self.snapshot, &mut EffectOnly);
                Ok(binding.walk_live(snapshot, entities, classes, numbers, brought, scratch, sink) as u8)
            };
            *code = decide().unwrap_or_else(|code: Code| code as u8);
        }
    }

    /// Put the live attributes of a session behind the values of a row. Return the results of checks that ask for them.
    fn fill(
        &self,
        binding: &Binding,
        session: SessionId,
        resource: EntityRef,
        now_ns: i64,
        brought: &mut CallValues,
        numbers: &mut [i64],
    ) -> Result<Answers, Code> {
        let (shared, snapshot) = (&*self.shared, &*self.snapshot);
        let read = shared.sessions.valid_live(session, now_ns);
        let (_, fields) = read.ok_or_else(|| shared.why(session, now_ns))?;
        let live = shared.sessions.live_attributes(&fields);
        numbers.get_mut(binding.callers..).unwrap_or_default().fill(0);
        let mut answers = Answers::default();
        let filler = Filler { shared, snapshot, binding, live, now_ns, resource: &|| Some(resource) };
        filler.fill(brought, numbers, &mut answers)?;
        Ok(answers)
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
