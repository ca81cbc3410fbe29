;; Its data has no room in its memory, so no instance of it ever begins.
(data (i32.const 131070) "beyond")
