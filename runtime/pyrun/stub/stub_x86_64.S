/* The stub for x86_64: see table.py for what a row is. elf.py holds these bytes; a test assembles and compares. */
    .globl _start
_start:
    mov $0x410010, %ebx             /* the first row; the table is loaded at 0x410000 */
    xor %ebp, %ebp                  /* the first non-zero status that tell printed */
row:
    mov (%rbx), %eax
    test %eax, %eax
    js own
    mov 8(%rbx), %rdi
    mov 16(%rbx), %rsi
    mov 24(%rbx), %rdx
    mov 32(%rbx), %r10
    mov 40(%rbx), %r8
    mov 48(%rbx), %r9
    syscall
    test %rax, %rax
    js failed
    jz next
    mov 56(%rbx), %rcx              /* positive: is there a row to jump to? */
    jrcxz next
    mov %rcx, %rbx
    mov %eax, %r12d                 /* if the call was a clone, the pid of the child: see reap */
    jmp row
next:
    sub $-128, %rbx
    jmp row
failed:
    neg %rax
    cmp $63, %eax                   /* excused? A bit for each errno below 64 */
    ja report
    bt %rax, 64(%rbx)
    jc next
report:
    mov %rax, (%rbx)                /* the row becomes the report: errno takes the place of the call */
    mov 0x410000, %edi
    mov %rbx, %rsi
    mov $128, %edx
    mov $1, %eax                    /* write */
    syscall
    mov $1, %edi
    mov $231, %eax                  /* exit_group */
    syscall
own:                                /* not a call of the kernel: -1 tell, -2 end, -3 reap */
    inc %eax
    jz tell
    inc %eax
    jz end
reap:                               /* wait for any signal */
    mov 8(%rbx), %rdi
    xor %esi, %esi
    xor %edx, %edx
    mov $8, %r10d
    mov $128, %eax                  /* rt_sigtimedwait */
    syscall
    cmp $17, %eax                   /* SIGCHLD */
    je collect
    mov %r12d, %edi
    mov %eax, %esi
    mov $62, %eax                   /* kill: forward it */
    syscall
    jmp reap
collect:
    mov $-1, %rdi
    mov 16(%rbx), %rsi
    mov $1, %edx                    /* WNOHANG */
    xor %r10d, %r10d
    mov $61, %eax                   /* wait4 */
    syscall
    test %eax, %eax
    jle reap
    cmp %r12d, %eax                 /* an orphan, or the child itself? */
    jne collect
    mov 16(%rbx), %rsi
    mov (%rsi), %eax
    call code
    mov %eax, %ebp
end:
    mov %ebp, %edi
    mov $231, %eax                  /* exit_group */
    syscall
tell:
    mov 8(%rbx), %rsi               /* a struct pidfd_info */
    testb $8, (%rsi)                /* PIDFD_INFO_EXIT */
    jz unknown
    mov 60(%rsi), %eax
    call code
    test %ebp, %ebp
    cmovz %eax, %ebp
    lea 127(%rbx), %rsi             /* the digits overwrite the end of the row's label */
    movb $'\n', (%rsi)
    mov $10, %ecx
digit:
    xor %edx, %edx
    div %ecx
    add $'0', %dl
    dec %rsi
    mov %dl, (%rsi)
    test %eax, %eax
    jnz digit
    lea 128(%rbx), %rdx
    sub %rsi, %rdx
    mov $1, %edi
told:
    mov $1, %eax                    /* write */
    syscall
    jmp next
unknown:
    test %ebp, %ebp
    jnz message
    inc %ebp
message:
    mov 16(%rbx), %rsi
    mov 24(%rbx), %rdx
    mov $2, %edi
    jmp told
code:                               /* convert a wait status to a status as a shell shows it */
    test $0x7f, %al
    jnz signalled
    movzbl %ah, %eax
    ret
signalled:
    and $0x7f, %eax
    sub $-128, %eax
    ret
