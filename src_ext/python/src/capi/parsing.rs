//! Functions of the table that read texts of decimals, times and addresses.

use super::guard::{guarded, values};
use crate::timestamps::iso_millis;
use std::net::IpAddr;
use ztfast_embed::{Kind, Status};
use ztfast_vm::literals;

pub(super) unsafe extern "C" fn parse(kind: u32, data: *const u8, len: usize, number: *mut i64) -> i32 {
    // SAFETY: the header demands NULL or `len` bytes; `number` is NULL or the caller's.
    let (text, number) = unsafe { (values(data, len), number.as_mut()) };
    guarded(|| {
        let (text, number) = text.zip(number).ok_or(Status::NULL)?;
        let read = match u8::try_from(kind).map(Kind::from_number) {
            Ok(Kind::Decimal) => literals::decimal(text),
            Ok(Kind::Datetime) => literals::datetime(text).or_else(|| iso_millis(std::str::from_utf8(text).ok()?)),
            Ok(Kind::Duration) => literals::duration(text),
            _ => return Err(Status::TYPE),
        };
        *number = read.ok_or(Status::VALUE)?;
        Ok(())
    })
}

pub(super) unsafe extern "C" fn parse_address(
    data: *const u8,
    len: usize,
    bytes: *mut u8,
    bytes_len: *mut usize,
    prefix: *mut u32,
) -> i32 {
    // SAFETY: the header demands NULL or `len` bytes, and NULL or room for 16 bytes and two numbers.
    let (text, bytes, out) =
        unsafe { (values(data, len), bytes.cast::<[u8; 16]>().as_mut(), bytes_len.as_mut().zip(prefix.as_mut())) };
    guarded(|| {
        let ((text, bytes), (bytes_len, prefix)) = text.zip(bytes).zip(out).ok_or(Status::NULL)?;
        let (address, length) = literals::address(text).ok_or(Status::VALUE)?;
        *bytes = [0; 16];
        *bytes_len = match address {
            IpAddr::V4(address) => {
                bytes[..4].copy_from_slice(&address.octets());
                4
            }
            IpAddr::V6(address) => {
                *bytes = address.octets();
                16
            }
        };
        *prefix = length.into();
        Ok(())
    })
}
