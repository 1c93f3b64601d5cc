/* A shared library that leaves /mark in the root directory of who loads it. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void mark(void)
{
    close(open("/mark", O_CREAT | O_WRONLY, 0600));
}
