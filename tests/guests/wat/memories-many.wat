;; Has more memories than an instance of the sandbox has.
;;; part a b c d e
(memory 1)
