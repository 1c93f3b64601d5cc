/* The stub for aarch64: see table.py for what a row is. elf.py holds these bytes; a test assembles and compares. */
    .globl _start
_start:
    movz x20, #0x41, lsl #16        /* the table is loaded at 0x410000 */
    add x19, x20, #16               /* the first row */
    mov w21, #0                     /* the first non-zero status that tell printed */
row:
    ldp x8, x0, [x19]
    tbnz w8, #31, own
    ldp x1, x2, [x19, #16]
    ldp x3, x4, [x19, #32]
    ldr x5, [x19, #48]
    svc #0
    tbnz x0, #63, failed
    cbz x0, next
    ldr x1, [x19, #56]              /* positive: is there a row to jump to? */
    cbz x1, next
    mov x19, x1
    mov w22, w0                     /* if the call was a clone, the pid of the child: see reap */
    b row
next:
    add x19, x19, #128
    b row
failed:
    neg x0, x0
    cmp x0, #63                     /* excused? A bit for each errno below 64 */
    b.hi report
    ldr x1, [x19, #64]
    lsr x1, x1, x0
    tbnz w1, #0, next
report:
    str x0, [x19]                   /* the row becomes the report: errno takes the place of the call */
    ldr w0, [x20]
    mov x1, x19
    mov x2, #128
    mov x8, #64                     /* write */
    svc #0
    mov x0, #1
    mov x8, #94                     /* exit_group */
    svc #0
own:                                /* not a call of the kernel: -1 tell, -2 end, -3 reap */
    cmn w8, #1
    b.eq tell
    cmn w8, #2
    b.eq end
reap:                               /* wait for any signal */
    ldr x0, [x19, #8]
    mov x1, #0
    mov x2, #0
    mov x3, #8
    mov x8, #137                    /* rt_sigtimedwait */
    svc #0
    cmp x0, #17                     /* SIGCHLD */
    b.eq collect
    mov x1, x0
    mov w0, w22
    mov x8, #129                    /* kill: forward it */
    svc #0
    b reap
collect:
    mov x0, #-1
    ldr x1, [x19, #16]
    mov x2, #1                      /* WNOHANG */
    mov x3, #0
    mov x8, #260                    /* wait4 */
    svc #0
    cmp w0, #0
    b.le reap
    cmp w0, w22                     /* an orphan, or the child itself? */
    b.ne collect
    ldr x1, [x19, #16]
    ldr w0, [x1]
    bl code
    mov w21, w0
end:
    mov w0, w21
    mov x8, #94                     /* exit_group */
    svc #0
tell:
    ldr x1, [x19, #8]               /* a struct pidfd_info */
    ldr w0, [x1]
    tbz w0, #3, unknown             /* PIDFD_INFO_EXIT */
    ldr w0, [x1, #60]
    bl code
    cmp w21, #0
    csel w21, w0, w21, eq
    add x1, x19, #127               /* the digits overwrite the end of the row's label */
    mov w2, #10                     /* a newline, too */
    strb w2, [x1]
digit:
    udiv w3, w0, w2
    msub w4, w3, w2, w0
    add w4, w4, #'0'
    strb w4, [x1, #-1]!
    mov w0, w3
    cbnz w0, digit
    add x2, x19, #128
    sub x2, x2, x1
    mov x0, #1
told:
    mov x8, #64                     /* write */
    svc #0
    b next
unknown:
    cmp w21, #0
    csinc w21, w21, wzr, ne
    ldp x1, x2, [x19, #16]
    mov x0, #2
    b told
code:                               /* convert a wait status to a status as a shell shows it */
    ands w1, w0, #0x7f
    b.ne signalled
    ubfx w0, w0, #8, #8
    ret
signalled:
    add w0, w1, #128
    ret
