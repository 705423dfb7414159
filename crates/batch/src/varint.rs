//! Zigzag variable-length integers, as records use them: seven bits a byte, lowest first, bit 7 says another follows.
//! `0 -> 00`, `-1 -> 01`, `1 -> 02`, `64 -> 80 01`.
//!
//! Decoding takes at most 5 bytes for 32 bits and 10 for 64, and refuses bits that do not fit. A number written with
//! more bytes than it needs (`80 00`) is taken, as Kafka takes it: some clients reserve a fixed width and fill it later.

/// Reads a 32-bit number off the front of `bytes`; `None` when the bytes end early or the number does not fit.
#[must_use]
pub fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let raw = take_raw(bytes, 32)? as u32;
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a 64-bit number off the front of `bytes`; `None` when the bytes end early or the number does not fit.
#[must_use]
pub fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    let raw = take_raw(bytes, 64)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Appends a 32-bit number.
pub fn put_i32(out: &mut Vec<u8>, value: i32) {
    put_raw(out, u64::from(((value << 1) ^ (value >> 31)) as u32));
}

/// Appends a 64-bit number.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_raw(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Bytes that [`put_i32`] appends.
#[must_use]
pub const fn len_i32(value: i32) -> usize {
    len_raw(((value << 1) ^ (value >> 31)) as u32 as u64)
}

/// Bytes that [`put_i64`] appends.
#[must_use]
pub const fn len_i64(value: i64) -> usize {
    len_raw(((value << 1) ^ (value >> 63)) as u64)
}

const fn len_raw(raw: u64) -> usize {
    let bits = 64 - (raw | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_raw(out: &mut Vec<u8>, mut raw: u64) {
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

fn take_raw(bytes: &mut &[u8], bits: u32) -> Option<u64> {
    let mut raw = 0_u64;
    let mut shift = 0;
    loop {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let payload = u64::from(byte & 0x7f);
        // The last byte may carry only what is left of the width: 4 bits of 32 after 28, 1 bit of 64 after 63.
        if shift + 7 > bits && payload >> (bits - shift) != 0 {
            return None;
        }
        raw |= payload << shift;
        if byte & 0x80 == 0 {
            return Some(raw);
        }
        shift += 7;
        if shift >= bits {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_are_zigzag_lowest_group_first() {
        for (value, bytes) in [
            (0, &[0_u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 1]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut out = Vec::new();
            put_i32(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(take_i32(&mut &bytes[..]), Some(value));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_padding_is_taken() {
        for (bytes, want) in [
            (&[][..], None),
            (&[0x80], None),
            (&[0xff, 0xff, 0xff, 0xff, 0x1f], None),
            (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], None),
            (&[0x80, 0x00], Some(0)),
            (&[0x82, 0x80, 0x80, 0x80, 0x00], Some(1)),
        ] {
            assert_eq!(take_i32(&mut &bytes[..]), want, "{bytes:02x?}");
        }
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(take_i64(&mut &max[..]), Some(i64::MIN));
        let over = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(take_i64(&mut &over[..]), None);
    }

    proptest! {
        #[test]
        fn every_number_survives_the_round_trip(small in any::<i32>(), large in any::<i64>()) {
            let mut out = Vec::new();
            put_i32(&mut out, small);
            prop_assert_eq!(out.len(), len_i32(small));
            put_i64(&mut out, large);
            prop_assert_eq!(out.len(), len_i32(small) + len_i64(large));
            let mut rest = &out[..];
            prop_assert_eq!(take_i32(&mut rest), Some(small));
            prop_assert_eq!(take_i64(&mut rest), Some(large));
            prop_assert!(rest.is_empty());
        }
    }
}
