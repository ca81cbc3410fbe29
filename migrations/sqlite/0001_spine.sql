-- The whole path of a message. Ids are TEXT, times are milliseconds since 1970 in UTC, structured values are JSON as TEXT.
--
-- Checks and partial indices say `a OR b OR c` and not `IN (a, b, c)`: SQLite makes a table of a list of three or more, anew for each
-- row that is written. No index is by age alone: rows stand in the order in which they came.

CREATE TABLE tenant (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    -- A webhook that would leave more messages waiting than this is answered 429.
    max_pending INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
);

CREATE TABLE plugin_version (
    tenant     TEXT NOT NULL REFERENCES tenant (id),
    digest     TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    manifest   TEXT NOT NULL,
    component  BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, digest)
);

CREATE TABLE device (
    id            TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL REFERENCES tenant (id),
    channel       TEXT NOT NULL,
    credentials   BLOB NOT NULL,
    plugin        TEXT,
    plugin_config TEXT NOT NULL,
    settings      TEXT NOT NULL,
    alert         TEXT,
    created_at    INTEGER NOT NULL
);

-- One row for each pair (device, prospect). The session lock is here: `epoch` counts its claims, `owner` is a random number
-- of the claim that holds it, and every change of a held row names both.
CREATE TABLE conversation (
    id               TEXT PRIMARY KEY,
    tenant           TEXT NOT NULL,
    device           TEXT NOT NULL REFERENCES device (id),
    prospect         TEXT NOT NULL,
    -- Where replies go, if they last wrote under another id than the one that the conversation began with.
    address          TEXT,
    prospect_name    TEXT,
    state            TEXT NOT NULL CHECK (state = 'idle' OR state = 'waiting' OR state = 'running' OR state = 'sending'),
    version          INTEGER NOT NULL,
    claim_version    INTEGER NOT NULL,
    epoch            INTEGER NOT NULL,
    owner            TEXT,
    locked_at        INTEGER,
    claimed_at       INTEGER,
    turn             TEXT,
    signal           TEXT,
    ready_at         INTEGER,
    first_pending_at INTEGER,
    paused_until     INTEGER,
    -- Tries that ended in a failure, and tries that the end of the host cut off. `suspect_seq` is the last
    -- message that one of those was run for.
    attempts         INTEGER NOT NULL,
    crashes          INTEGER NOT NULL,
    suspect_seq      INTEGER,
    restarts         INTEGER NOT NULL,
    turns            INTEGER NOT NULL,
    clock            INTEGER NOT NULL,
    seed             INTEGER NOT NULL,
    last_inbound_at  INTEGER,
    last_hash        TEXT,
    last_hash_at     INTEGER,
    created_at       INTEGER NOT NULL
);
CREATE INDEX conversation_due ON conversation (ready_at) WHERE state = 'waiting';
CREATE INDEX conversation_locked ON conversation (state) WHERE state IN ('running', 'sending');

-- Other ids of the same prospect, where a channel has two for one person.
CREATE TABLE prospect_alias (
    device   TEXT NOT NULL,
    alias    TEXT NOT NULL,
    prospect TEXT NOT NULL,
    PRIMARY KEY (device, alias)
) WITHOUT ROWID;

CREATE TABLE inbox (
    seq                 INTEGER PRIMARY KEY,
    id                  TEXT NOT NULL UNIQUE,
    tenant              TEXT NOT NULL,
    device              TEXT NOT NULL,
    conversation        TEXT,
    provider_message_id TEXT,
    message             TEXT NOT NULL,
    state               TEXT NOT NULL
        CHECK (state = 'pending' OR state = 'done' OR state = 'skipped' OR state = 'absorbed' OR state = 'dead' OR state = 'ignored'
            OR state = 'human'),
    reason              TEXT,
    turn                TEXT,
    received_at         INTEGER NOT NULL,
    settled_at          INTEGER,
    UNIQUE (device, provider_message_id)
);
-- How much waits for a tenant, and what waits in a conversation.
CREATE INDEX inbox_pending ON inbox (tenant, conversation, seq) WHERE state = 'pending';
CREATE INDEX inbox_history ON inbox (conversation, received_at);
CREATE INDEX inbox_dead ON inbox (tenant, seq) WHERE state = 'dead';

-- One row for each try of a turn.
CREATE TABLE turn (
    id           TEXT PRIMARY KEY,
    conversation TEXT NOT NULL,
    epoch        INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    plugin       TEXT,
    "trigger"    TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    detail       TEXT,
    cpu_us       INTEGER NOT NULL,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER NOT NULL
);
-- Also the way to what a conversation was sent: `created_at` of a turn's parts is its `finished_at`.
CREATE INDEX turn_history ON turn (conversation, finished_at);

-- `state` is what this host knows of its own tries, `status` what the provider has said since.
CREATE TABLE outbox (
    id                  TEXT PRIMARY KEY,
    tenant              TEXT NOT NULL,
    device              TEXT NOT NULL,
    conversation        TEXT NOT NULL,
    turn                TEXT NOT NULL,
    idx                 INTEGER NOT NULL,
    body                TEXT NOT NULL,
    state               TEXT NOT NULL
        CHECK (state = 'queued' OR state = 'sending' OR state = 'unknown' OR state = 'sent' OR state = 'held' OR state = 'dead'),
    status              TEXT,
    attempts            INTEGER NOT NULL,
    next_at             INTEGER,
    provider_message_id TEXT,
    error               TEXT,
    created_at          INTEGER NOT NULL,
    settled_at          INTEGER,
    UNIQUE (turn, idx)
);
CREATE INDEX outbox_open ON outbox (conversation) WHERE state = 'queued' OR state = 'sending' OR state = 'unknown';
CREATE INDEX outbox_due ON outbox (next_at) WHERE state IN ('queued', 'unknown') AND next_at IS NOT NULL;
CREATE INDEX outbox_provider ON outbox (device, provider_message_id) WHERE provider_message_id IS NOT NULL;
-- What an operator looks at: also what the provider took, and told later that it did not arrive.
CREATE INDEX outbox_dead ON outbox (tenant, created_at)
    WHERE state IN ('dead', 'held') OR (state = 'sent' AND status = 'failed');

CREATE TABLE timer (
    id           TEXT PRIMARY KEY,
    conversation TEXT NOT NULL,
    name         TEXT NOT NULL,
    due          INTEGER NOT NULL,
    payload      BLOB NOT NULL,
    UNIQUE (conversation, name)
);
CREATE INDEX timer_due ON timer (due);

CREATE TABLE tag (
    conversation TEXT NOT NULL,
    key          TEXT NOT NULL,
    value        TEXT NOT NULL,
    PRIMARY KEY (conversation, key)
) WITHOUT ROWID;

-- `version` is a random number of the write that made the value: it is compared and never counted.
CREATE TABLE plugin_state (
    tenant     TEXT NOT NULL,
    scope      TEXT NOT NULL,
    owner      TEXT NOT NULL,
    key        TEXT NOT NULL,
    value      BLOB NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (tenant, scope, owner, key)
) WITHOUT ROWID;
CREATE INDEX plugin_state_expiry ON plugin_state (expires_at) WHERE expires_at IS NOT NULL;

-- What people did by hand.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    at      INTEGER NOT NULL,
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail  TEXT
);

-- The seed's own queries. A row is in the first exactly while a session is locked, in the second while its turn runs.
CREATE VIEW ai_whatsapp_session_nodepath AS
SELECT prospect AS id_prospect, device AS id_device, strftime('%Y-%m-%d %H:%M:%S', locked_at / 1000, 'unixepoch') AS timestamp
FROM conversation
WHERE state IN ('running', 'sending');

CREATE VIEW execution_process AS
SELECT turn AS id_chat_input, device AS id_device, prospect AS id_prospect,
    strftime('%Y-%m-%d %H:%M:%S', claimed_at / 1000, 'unixepoch') AS times
FROM conversation
WHERE state = 'running';
