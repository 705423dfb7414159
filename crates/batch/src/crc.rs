//! CRC-32C (Castagnoli), the checksum of a batch. One function, so that the crate behind it is one line's choice.

/// CRC-32C of `bytes`, as the CRC field of a batch holds it.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_answer_of_the_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b""), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn agrees_with_the_other_implementation(bytes in prop::collection::vec(any::<u8>(), 0..4096), skip in 0_usize..16) {
            let bytes = &bytes[skip.min(bytes.len())..];
            prop_assert_eq!(crc32c(bytes), ::crc32c::crc32c(bytes));
        }
    }
}
