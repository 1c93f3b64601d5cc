/* Show what a process has got of those before it, a line each: "NAME VALUE". */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

int main(void)
{
    int signal = -1, subreaper = -1, adjustment = -1;
    struct itimerval timer;
    struct stat own;
    prctl(PR_GET_PDEATHSIG, &signal);
    prctl(PR_GET_CHILD_SUBREAPER, &subreaper);
    getitimer(ITIMER_REAL, &timer);
    stat("/proc/self/environ", &own);
    FILE *file = fopen("/proc/self/oom_score_adj", "r");
    if (file && fscanf(file, "%d", &adjustment) != 1)
        adjustment = -1;
    printf("pdeathsig %d\n", signal);
    printf("subreaper %d\n", subreaper);
    printf("timer %ld\n", (long)timer.it_value.tv_sec);
    printf("dumpable %d\n", prctl(PR_GET_DUMPABLE));
    printf("owner %d\n", own.st_uid == geteuid());
    printf("keepcaps %d\n", prctl(PR_GET_KEEPCAPS));
    printf("securebits %d\n", prctl(PR_GET_SECUREBITS));
    printf("secret %d\n", syscall(SYS_keyctl, 10L, -3L, "user", "pyrun-secret", 0L) >= 0);
    printf("nice %d\n", getpriority(PRIO_PROCESS, 0));
    printf("ioprio %ld\n", syscall(SYS_ioprio_get, 1, 0));
    printf("timerslack %d\n", prctl(PR_GET_TIMERSLACK));
    printf("personality %d\n", personality(0xffffffff));
    printf("oom_score_adj %d\n", adjustment);
    return 0;
}
