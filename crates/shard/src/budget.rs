//! Bounds on memory: a node-wide budget for requests, and buffers that a shard uses again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
#[cfg(target_env = "gnu")]
use types::limits::{ALLOCATION_MAPPED_BYTES_MIN, ALLOCATOR_KEPT_BYTES_MAX};
use types::limits::{POOLED_BUFFER_BYTES_MAX, POOLED_BUFFERS_MAX};

/// Tells the C library's allocator to keep what requests need again and again: by default it gives memory of 128 KiB and
/// more back to the kernel on every free, and each of its pages then costs a fault when the next request is read into it.
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    for (setting, bytes) in
        [(libc::M_MMAP_THRESHOLD, ALLOCATION_MAPPED_BYTES_MIN), (libc::M_TRIM_THRESHOLD, ALLOCATOR_KEPT_BYTES_MAX)]
    {
        // SAFETY: mallopt takes two integers and locks the allocator itself.
        if unsafe { libc::mallopt(setting, bytes) } == 0 {
            tracing::debug!(setting, bytes, "the allocator does not take its setting");
        }
    }
}

/// Bytes that requests of the whole node may hold. Cloning shares it; any thread may use it.
#[derive(Clone)]
pub struct MemoryBudget {
    inner: Arc<Budget>,
}

struct Budget {
    bytes_max: u64,
    taken: AtomicU64,
}

impl MemoryBudget {
    /// A budget of `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { inner: Arc::new(Budget { bytes_max, taken: AtomicU64::new(0) }) }
    }

    /// Takes `bytes` until the grant is dropped; `None` when they do not fit now.
    #[must_use]
    pub fn try_take(&self, bytes: u64) -> Option<MemoryGrant> {
        self.inner
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|&sum| sum <= self.inner.bytes_max)
            })
            .ok()?;
        Some(MemoryGrant { budget: Arc::clone(&self.inner), bytes })
    }

    /// Bytes taken now.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.inner.taken.load(Ordering::Relaxed)
    }

    /// Bytes there are.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        self.inner.bytes_max
    }
}

impl fmt::Debug for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryBudget({} of {} bytes)", self.taken_bytes(), self.bytes_max())
    }
}

/// Bytes of a [`MemoryBudget`], given back on drop.
#[must_use]
pub struct MemoryGrant {
    budget: Arc<Budget>,
    bytes: u64,
}

impl MemoryGrant {
    /// How many.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Debug for MemoryGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryGrant({} bytes)", self.bytes)
    }
}

impl Drop for MemoryGrant {
    fn drop(&mut self) {
        let before = self.budget.taken.fetch_sub(self.bytes, Ordering::AcqRel);
        assert!(before >= self.bytes, "a budget got back more than it gave");
    }
}

/// Read buffers of one shard. A buffer whose slices (`BytesMut::split_to`) are all gone is used again.
///
/// Lives on: its shard's thread.
#[derive(Debug, Default)]
pub struct BufferPool {
    buffers: Vec<BytesMut>,
}

impl BufferPool {
    /// Tries a few returned buffers before it allocates: those at the back are the most recently used, so warm.
    const TRIES_MAX: usize = 4;

    /// An empty pool.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty buffer with room for at least `bytes`.
    #[must_use]
    pub fn take(&mut self, bytes: usize) -> BytesMut {
        for index in (self.buffers.len().saturating_sub(Self::TRIES_MAX)..self.buffers.len()).rev() {
            if self.buffers[index].try_reclaim(bytes) {
                return self.buffers.swap_remove(index);
            }
        }
        BytesMut::with_capacity(bytes)
    }

    /// Returns a buffer; what it still holds is dropped. Slices split off it stay valid.
    pub fn give(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        if self.buffers.len() == POOLED_BUFFERS_MAX {
            // One that is perhaps still sliced makes room for one that was just used.
            self.buffers.swap_remove(0);
        }
        if buffer.capacity() <= POOLED_BUFFER_BYTES_MAX {
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_never_gives_more_than_it_has() {
        let budget = MemoryBudget::new(100);
        let grant = budget.try_take(60).expect("fits");
        assert!(budget.try_take(41).is_none());
        assert!(budget.try_take(u64::MAX).is_none());
        let rest = budget.try_take(40).expect("fits exactly");
        assert_eq!(budget.taken_bytes(), 100);
        drop((grant, rest));
        assert_eq!(budget.taken_bytes(), 0);
    }

    #[test]
    fn buffer_is_used_again_once_its_slices_are_gone() {
        let mut pool = BufferPool::new();
        let mut buffer = pool.take(4096);
        let memory = buffer.as_ptr();
        buffer.extend_from_slice(&[7; 1000]);
        let slice = buffer.split_to(1000);
        pool.give(buffer);
        let other = pool.take(4096);
        assert_ne!(other.as_ptr(), memory, "the slice still holds the memory");
        assert_eq!(slice[..], [7; 1000]);
        drop(slice);
        pool.give(other);
        let mut again = [pool.take(4096), pool.take(4096)];
        again.sort_by_key(|buffer| buffer.as_ptr() != memory);
        assert_eq!(again[0].as_ptr(), memory);
    }
}
