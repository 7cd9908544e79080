// What pyprof says about itself, from the tables of pyprof_cli.h: --help, the man page, completions for shells.
#ifndef PYPROF_HELP_H
#define PYPROF_HELP_H
#include "pyprof_cli.h"

// ---- --help -----------------------------------------------------------------------
static void cli_wrap(const char *text, int column, int width)   // the cursor is at column
{
    int at = column;
    while (*text) {
        int length = (int)strcspn(text, " ");
        if (at > column && at + 1 + length > width) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, text);
        at += length;
        text += length;
        while (*text == ' ') text++;
    }
    putchar('\n');
}

static void cli_explain_option(const struct cli_option *option)
{
    char left[80], right[900];
    int used = snprintf(left, sizeof left, "  %c%c%s --%s%s%s", option->letter ? '-' : ' ', option->letter ? option->letter : ' ',
                        option->letter ? "," : " ", option->name, option->argument && option->argument[0] != '[' ? " " : "",
                        option->argument ? option->argument : "");
    size_t size = (size_t)snprintf(right, sizeof right, "%s", option->help);
    const struct cli_name *name;
    if (option->choices) {
        size += (size_t)snprintf(right + size, sizeof right - size, ":");
        for (name = option->choices; name->name; name++)
            if (name->note) size += (size_t)snprintf(right + size, sizeof right - size, " %s%s", name->name, name[1].name && name[1].note ? "," : "");
    }
    if (option->initial) snprintf(right + size, sizeof right - size, " (default: %s)", option->initial);
    printf("%s", left);
    if (used > 27) printf("\n%*s", 29, "");
    else printf("%*s", 29 - used, "");
    cli_wrap(right, 29, 100);
}

static void cli_explain_all(void)
{
    const struct cli_command *command;
    puts("pyprof: a sampling profiler for Python programs. It never stops or slows them.\n");
    puts("Usage: pyprof COMMAND [OPTION]... [ARGUMENT]...\n\nCommands:");
    for (command = cli_command_table; command->bit; command++) printf("  %-12s %s\n", command->name, command->summary);
    puts("\nExamples:");
    for (command = cli_command_table; command->bit != CLI_MERGE; command++) {
        printf("  %s\n", command->examples[0]);
        if (command->bit == CLI_RECORD) printf("  %s\n", command->examples[2]);
    }
    puts("\n'pyprof COMMAND --help' explains a command and its options, 'pyprof --version' prints the version.");
}

static void cli_explain(int bit)   // 0 = all commands
{
    const struct cli_command *command = cli_command_of(bit);
    const struct cli_option *option;
    int i;
    if (!command) {
        cli_explain_all();
        return;
    }
    printf("%s.\n\nUsage: pyprof %s [OPTION]... %s\n\n", command->summary, command->name, command->operands);
    if (*command->text) cli_wrap(command->text, 0, 100);
    printf("%sOptions:\n", *command->text ? "\n" : "");
    for (option = cli_option_table; option->name; option++)
        if (option->commands & bit) cli_explain_option(option);
    puts("\nExamples:");
    for (i = 0; i < 8 && command->examples[i]; i += 2) printf("  %s\n      %s\n", command->examples[i], command->examples[i + 1]);
}
#endif
