//! A gate of one's own: a clone of the one that Python has prepared.

use crate::batch::Batch;
use crate::code::{Code, Kind, Status};
use crate::table::{Api, Determining, MAX_ARGUMENTS, RawGate};
use std::ptr::{self, NonNull};

/// Decisions about one action, for one thread at a time: [`Send`], not [`Sync`]. [`Self::try_clone`] makes one for another
/// thread.
///
/// Values are in the order of the names that Python gave to `engine.prepare`, in the units of [`Kind`].
#[derive(Debug)]
pub struct Gate {
    api: &'static Api,
    /// Ours alone: from `gate_clone`, given to `gate_free` when this is dropped.
    raw: NonNull<RawGate>,
}

// SAFETY: the core's gates are bound to no thread, and this one is reached through this object only.
unsafe impl Send for Gate {}

impl Gate {
    /// A clone of a Python gate, by its `gate.address`. The Python object is not needed afterwards.
    ///
    /// # Safety
    /// The address is 0 or `gate.address` of a `ztfast.Gate` that lives, and that no other thread uses during the call:
    /// hold the GIL, or own the gate.
    ///
    /// # Errors
    /// [`Status::NULL`] for address 0; [`Status::STALE`] where the gate no longer fits the bundle.
    pub unsafe fn clone_of(api: &'static Api, address: usize) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        let original = ptr::with_exposed_provenance::<RawGate>(address);
        // SAFETY: the caller's promise about the address; `raw` is ours to write to.
        Status(unsafe { (api.gate_clone)(original, &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api, raw }).ok_or(Status::NULL)
    }

    /// Another gate of the same action and attributes, for another thread. Allocates and locks.
    ///
    /// # Errors
    /// [`Status::STALE`] where the gate no longer fits the bundle.
    pub fn try_clone(&self) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: our gate lives, and no other thread uses it: this type is not `Sync`.
        Status(unsafe { (self.api.gate_clone)(self.raw.as_ptr(), &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api: self.api, raw }).ok_or(Status::NULL)
    }

    /// A gate of the same action without the attributes whose bits are set, for requests in which they are absent. Its values
    /// are those that are left. Allocates and locks: make it once, beside this one.
    ///
    /// # Errors
    /// [`Status::REQUIRED`] where one of them must be there; [`Status::STALE`].
    pub fn without(&self, absent: u64) -> Result<Self, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: as in `try_clone`.
        Status(unsafe { (self.api.gate_without)(self.raw.as_ptr(), absent, &raw mut raw) }).ok()?;
        NonNull::new(raw).map(|raw| Self { api: self.api, raw }).ok_or(Status::NULL)
    }

    /// Whether the session (`session.id`) may do it to the resource (`resource.handle`): [`Code::ALLOW`], or why not.
    ///
    /// A wrong count of values is [`Code::CORRUPT`].
    #[inline]
    pub fn allows(&mut self, session: u64, resource: u64, values: &[i64]) -> Code {
        // SAFETY: our gate lives, and nobody else uses it; the values are a slice's.
        Code(unsafe { (self.api.allows)(self.raw.as_ptr(), session, resource, values.as_ptr(), values.len()) })
    }

    /// The same, and which policies determined it; [`Self::policy`] names them.
    #[inline]
    pub fn decide(&mut self, session: u64, resource: u64, values: &[i64], determining: &mut Determining) -> Code {
        let (data, len) = (values.as_ptr(), values.len());
        // SAFETY: as in `allows`; the struct is the caller's.
        Code(unsafe { (self.api.decide)(self.raw.as_ptr(), session, resource, data, len, determining) })
    }

    /// The denial of a request of which a value is out of its attribute's range, and so has no number:
    /// [`Code::BAD_VALUE`], or what denies whatever the values are. A call that was begun is over.
    pub fn refuse(&mut self, session: u64, resource: u64) -> Code {
        // SAFETY: as in `allows`.
        Code(unsafe { (self.api.refuse)(self.raw.as_ptr(), session, resource) })
    }

    /// Before [`Self::text`] and [`Self::entity`]: they and the next decision go by one bundle. Each decision of a gate with
    /// texts or entities among its arguments has a beginning of its own, else it is [`Code::CORRUPT`]; and where a text or an
    /// entity was refused it is a denial, whatever values it is given.
    ///
    /// # Errors
    /// None that a gate of this type can meet.
    pub fn begin(&mut self) -> Result<(), Status> {
        // SAFETY: as in `allows`.
        Status(unsafe { (self.api.begin)(self.raw.as_ptr()) }).ok()
    }

    /// The number of a text in the call begun.
    ///
    /// # Errors
    /// [`Status::ROOM`] where the call brings more than 32 texts or 16 KiB that the bundle lacks.
    pub fn text(&mut self, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `allows`; the text is a slice's, and the number is ours to write to.
        Status(unsafe { (self.api.text)(self.raw.as_ptr(), text.as_ptr(), text.len(), &raw mut number) }).ok()?;
        Ok(number)
    }

    /// The number of a text that the bundle holds, wherever a call stands: it stays as long as [`Self::generation`] does.
    ///
    /// # Errors
    /// [`Status::TEXT`] where the bundle holds no such text: then each call brings it along by [`Self::text`].
    pub fn literal(&self, text: &str) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.literal)(self.raw.as_ptr(), text.as_ptr(), text.len(), &raw mut number) }).ok()?;
        Ok(number)
    }

    /// The number of a handle's entity in the call begun, for the attribute at this place.
    ///
    /// # Errors
    /// [`Status::TYPE`] where the attribute's entities are of another type; [`Status::HANDLE`] where its type is enumerated
    /// and has no such entity; [`Status::FOREIGN`] where the handle is another engine's; [`Status::STALE`]. The decision is
    /// a denial then.
    pub fn entity(&mut self, handle: u64, place: usize) -> Result<i64, Status> {
        let mut number = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.entity)(self.raw.as_ptr(), handle, place, &raw mut number) }).ok()?;
        Ok(number)
    }

    /// The arguments' kinds, in their order.
    ///
    /// # Errors
    /// [`Status::STALE`] where the gate no longer fits the bundle.
    pub fn kinds(&self) -> Result<Vec<Kind>, Status> {
        let (mut kinds, mut count) = ([0_u8; MAX_ARGUMENTS], 0_usize);
        // SAFETY: as in `allows`; the array has as much room as it says, and the count is ours to write to.
        let status = unsafe { (self.api.kinds)(self.raw.as_ptr(), kinds.as_mut_ptr(), MAX_ARGUMENTS, &raw mut count) };
        Status(status).ok()?;
        Ok(kinds.iter().take(count).map(|&kind| Kind::from_number(kind)).collect())
    }

    /// The id of a policy that [`Self::decide`] gave.
    ///
    /// # Errors
    /// [`Status::POLICY`] where the bundle that the gate last decided by has no such policy.
    pub fn policy(&self, number: u32) -> Result<&str, Status> {
        let (mut id, mut len) = (ptr::null(), 0);
        // SAFETY: as in `allows`; both are ours to write to.
        Status(unsafe { (self.api.policy)(self.raw.as_ptr(), number, &raw mut id, &raw mut len) }).ok()?;
        // SAFETY: the table promises `len` bytes that are good until the next decision, which takes `&mut self`.
        let id = unsafe { std::slice::from_raw_parts(id, len) };
        std::str::from_utf8(id).map_err(|_| Status::UTF8)
    }

    /// A number that changes when the gate decides by another bundle.
    ///
    /// # Errors
    /// None that a gate of this type can meet.
    pub fn generation(&self) -> Result<u64, Status> {
        let mut generation = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.generation)(self.raw.as_ptr(), &raw mut generation) }).ok()?;
        Ok(generation)
    }

    /// Take the newest bundle now, as the next decision would, and say its [`Self::generation`]. A call that was begun is
    /// over.
    ///
    /// # Errors
    /// [`Status::STALE`] where the gate does not fit that bundle.
    pub fn refresh(&mut self) -> Result<u64, Status> {
        let mut generation = 0;
        // SAFETY: as in `text`.
        Status(unsafe { (self.api.refresh)(self.raw.as_ptr(), &raw mut generation) }).ok()?;
        Ok(generation)
    }

    /// A batch: many decisions by the bundle of this moment. Allocates.
    ///
    /// # Errors
    /// [`Status::PANIC`] where the core failed.
    pub fn batch(&mut self) -> Result<Batch, Status> {
        let mut raw = ptr::null_mut();
        // SAFETY: as in `allows`; `raw` is ours to write to.
        Status(unsafe { (self.api.batch_begin)(self.raw.as_ptr(), &raw mut raw) }).ok()?;
        // SAFETY: the core made this batch for us, and nobody else has it.
        NonNull::new(raw).map(|raw| unsafe { Batch::new(self.api, raw) }).ok_or(Status::NULL)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: the gate is ours, from `gate_clone`, and nobody uses it after this.
        let freed = Status(unsafe { (self.api.gate_free)(self.raw.as_ptr()) });
        debug_assert_eq!(freed, Status::OK, "a gate of our own is always to be had back");
    }
}
