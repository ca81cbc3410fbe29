//! What a guest may use. Each limit stands here once, with its reason.

use std::time::Duration;

/// How often the epoch advances. A guest that computes hands its thread back this often, so another turn on the same thread
/// waits no longer for it.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// How long the epoch goes on advancing after the last guest is gone.
pub(super) const LINGER: Duration = Duration::from_millis(100);

/// A turn that has computed for so long computes for long: from here on it queues for the thread. Rust guests answer in well
/// below 1 ms, and interpreters in a few.
pub(super) const LONG: Duration = Duration::from_millis(20);

/// The stack of a guest, in bytes. Rust and JavaScript guests use a few dozen KiB.
pub(super) const WASM_STACK: usize = 512 << 10;

/// The stack of a guest together with the host functions that it calls, in bytes.
pub(super) const ASYNC_STACK: usize = 1 << 20;

/// The most bytes that a guest passes to the host in one call: a state value or an effect at its largest, with room for the
/// small parts that a list is made of.
pub(super) const HOSTCALL_BYTES: usize = 2 << 20;

/// After so many calls of the host the guest's CPU time is looked at. The dearest call takes about a millisecond, and a look
/// about as long as the cheapest.
pub(super) const HOST_CALLS_PER_LOOK: u32 = 16;

/// The most resource handles (WASI streams and pollables) that a guest holds. The standard library of Rust holds three.
pub(super) const HANDLES: usize = 256;

/// The most random bytes in one WASI call; the host allocates them.
pub(super) const RANDOM_BYTES: u64 = 64 << 10;

/// The largest single memory that the pool has room for, in bytes, whatever a device's budget says. This host
/// runs on 64 bits, where the number fits.
pub(super) const POOL_MEMORY: usize = nodepath_model::device::MAX_MEMORY_BYTES as usize;

/// The same, as budgets are counted.
pub(super) const MOST_MEMORY: u64 = nodepath_model::device::MAX_MEMORY_BYTES;

/// How long a call waits before it asks a full pool for an instance again.
pub(super) const NO_ROOM_WAIT: Duration = Duration::from_millis(20);

/// The most core instances of one component. Python and JavaScript components have more than ten.
pub(super) const CORE_INSTANCES: u32 = 64;

/// The most memories of one component. All toolchains use one; composed components have one for each part.
pub(super) const MEMORIES: u32 = 4;

/// The most tables of one component.
pub(super) const TABLES: u32 = 16;

/// The most elements of one table. Interpreters have about 20,000 function pointers.
pub(super) const TABLE_ELEMENTS: usize = 64 << 10;

/// What a table's element takes in the host, in bytes.
pub(super) const ELEMENT_BYTES: u64 = 8;

/// Bytes of a memory, of a table and of a stack that are zeroed in place after a turn instead of being given back to the system, which
/// costs more than zeroing them. Rust guests touch about 32 KiB.
pub(super) const KEEP_RESIDENT: usize = 64 << 10;

/// The largest component that is accepted, in bytes. Python components have 18 MiB.
pub const COMPONENT_BYTES: usize = 32 << 20;

/// The most functions in all modules of a component. SpiderMonkey has about 30,000.
pub(super) const FUNCTIONS: u64 = 150_000;

/// The largest body of a function, in bytes. Compiling takes more than linear time in it; the main loops of interpreters
/// stay below 1 MiB.
pub(super) const BODY_BYTES: usize = 2 << 20;

/// The deepest nesting of blocks in a function. A `switch` nests one block for each of its cases.
pub(super) const BLOCK_NESTING: u32 = 8_192;

/// The most local variables of a function; the compiler keeps tables of them for each block.
pub(super) const LOCALS: u64 = 20_000;

/// The most modules and components within a component.
pub(super) const PARTS: u32 = 256;

/// How deep components may nest.
pub(super) const COMPONENT_NESTING: usize = 8;

/// The most imports and exports of a component together; the world has fewer than 40.
pub(super) const NAMES: usize = 256;

/// The address space of the compiling process, in bytes. Compiling a Python or JavaScript component takes 0.4 GiB.
pub(super) const COMPILE_ADDRESS_SPACE: u64 = 2 << 30;

/// The CPU time of the compiling process. A Python component takes 12 s.
pub(super) const COMPILE_CPU: Duration = Duration::from_secs(120);

/// How long compiling may take on a busy machine.
pub(super) const COMPILE_WALL: Duration = Duration::from_secs(240);

/// The largest compiled component, in bytes. JavaScript components have 47 MB.
pub(super) const COMPILED_BYTES: u64 = 256 << 20;

/// The most bytes of compiled code that are kept loaded beyond what running turns hold.
pub(super) const LOADED_BYTES: u64 = 1 << 30;

/// The most components that are kept loaded, however small they are.
pub(super) const LOADED_COMPONENTS: usize = 1_024;

/// The most bytes of compiled code that are kept in files.
pub(super) const CACHED_BYTES: u64 = 4 << 30;

/// The most effects and state writes of a turn.
pub(super) const EFFECTS: usize = 200;

/// The most messages that a turn sends. A prospect reads no more, and each holds the conversation until it is delivered.
pub(super) const MESSAGES: usize = 20;

/// The most bytes in the effects and state writes of a turn: they are one commit.
pub(super) const EFFECT_BYTES: usize = 1 << 20;

/// The longest text, in bytes: it is split into parts, and nobody reads more in a chat.
pub(super) const TEXT_BYTES: usize = 64 << 10;

/// The longest URL, in bytes; providers refuse longer ones.
pub(super) const URL_BYTES: usize = 2_048;

/// The longest name of a file, a tag or a timer, in characters.
pub(super) const NAME_CHARS: usize = 128;

/// The longest value of a tag, in characters: it is shown in a list.
pub(super) const TAG_CHARS: usize = 256;

/// The longest reason of a hand-over, in characters: it is one line of a list.
pub(super) const REASON_CHARS: usize = 256;

/// The longest note of a hand-over, in characters.
pub(super) const NOTE_CHARS: usize = 4_096;

/// The largest payload of a timer, in bytes. What is larger belongs into `state`.
pub(super) const PAYLOAD_BYTES: usize = 16 << 10;

/// How far ahead a timer may be due.
pub(super) const TIMER_AHEAD: Duration = Duration::from_secs(366 * 24 * 3_600);

/// The longest delay before a message, which the conversation is locked for.
pub(super) const DELAY: Duration = Duration::from_secs(30);

/// The most extras of a message, and the most bytes of each.
pub(super) const EXTRAS: usize = 16;
pub(super) const EXTRA_BYTES: usize = 4 << 10;

/// How deep an extra nests: as deep as serde_json reads a value.
pub(super) const EXTRA_NESTING: usize = 127;

/// The longest state key, in bytes: it is part of an index.
pub(super) const KEY_BYTES: usize = 256;

/// The largest state value, in bytes: it is read and written as a whole.
pub(super) const VALUE_BYTES: usize = 256 << 10;

/// The most state calls and history calls of a turn that go to the store.
pub(super) const READS: u32 = 1_000;

/// The most keys in one page of `list-keys`, as the contract says.
pub(super) const KEYS: u32 = 1_000;

/// The most messages in one page of `history`, as the contract says.
pub(super) const HISTORY: u32 = 100;

/// How long one read may take before the guest is told that it is unavailable. A read takes milliseconds.
pub(super) const READ_WALL: Duration = Duration::from_secs(10);

/// The most signs of presence of a turn: each is a request to the provider.
pub(super) const PRESENCE: u32 = 20;

/// The longest line of a guest's log, in bytes.
pub(super) const LINE_BYTES: usize = 4 << 10;

/// The most fields of a line.
pub(super) const LINE_FIELDS: usize = 16;

/// Lines and bytes that a turn logs at once, and how many more it may each second.
pub(super) const LOG_LINES: u32 = 200;
pub(super) const LOG_BYTES: u32 = 64 << 10;
pub(super) const LOG_LINES_PER_SECOND: u32 = 20;
pub(super) const LOG_BYTES_PER_SECOND: u32 = 8 << 10;

/// The longest text of a guest in the reason of a failure, in characters.
pub(super) const DETAIL_CHARS: usize = 1_000;
