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
    puts("pyprof: a sampling profiler for Python programs. It reads their memory and never stops them.\n");
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

// ---- the man page -----------------------------------------------------------------------
static void cli_roff(const char *text)   // escaped
{
    const char *at;
    for (at = text; *at; at++) {
        if (*at == '-') fputs("\\-", stdout);
        else if (*at == '\\') fputs("\\e", stdout);
        else if (*at == '\'') fputs("\\(aq", stdout);
        else if (*at == '.' && at == text) fputs("\\&.", stdout);
        else putchar(*at);
    }
}

static void cli_man_choices(const struct cli_option *option)
{
    const struct cli_name *name;
    const char *before = ":\n";
    for (name = option->choices; name->name; name++) {
        if (!name->note) continue;
        printf("%s\\fB", before);
        cli_roff(name->name);
        printf("\\fR");
        if (*name->note) printf(" (\\fI%s\\fR)", name->note);
        before = ",\n";
    }
}

static void cli_man_option(const struct cli_option *option)
{
    printf(".TP\n");
    if (option->letter) printf("\\fB\\-%c\\fR, ", option->letter);
    printf("\\fB\\-\\-");
    cli_roff(option->name);
    printf("\\fR");
    if (option->argument) printf(option->argument[0] == '[' ? "%s" : " \\fI%s\\fR", option->argument);
    printf("\n");
    cli_roff(option->help);
    if (option->choices) cli_man_choices(option);
    if (option->initial) {
        printf("\n(default: ");
        cli_roff(option->initial);
        printf(")");
    }
    if (option->also) {
        printf("\n(also: \\fB\\-\\-");
        cli_roff(option->also);
        printf("\\fR)");
    }
    printf("\n");
}

static void cli_man_command(const struct cli_command *command)
{
    const struct cli_option *option;
    int i;
    printf(".SS \"pyprof %s\"\n.B pyprof %s\n", command->name, command->name);
    cli_roff("[OPTION]... ");
    cli_roff(command->operands);
    printf("\n.PP\n");
    cli_roff(command->summary);
    printf(".\n");
    if (*command->text) {
        cli_roff(command->text);
        printf("\n");
    }
    for (option = cli_option_table; option->name; option++)
        if ((option->commands & command->bit) && option->kind != CLI_SPECIAL) cli_man_option(option);
    for (i = 0; i < 8 && command->examples[i]; i += 2) {
        printf(".PP\nExample: ");
        cli_roff(command->examples[i + 1]);
        printf("\n.RS 4\n.EX\n");
        cli_roff(command->examples[i]);
        printf("\n.EE\n.RE\n");
    }
}

static const char *const cli_notes[][2] = {   // sections of the man page
    { "GLOBS", "A GLOB has the wildcards *, ? and [a-z], and alternatives that are separated by |: 'json.*|re.*'. A function matches by its name, "
               "its qualified name, or the name with the file before it, as in app.Server.run." },
    { "EXIT STATUS", "0: done. 1: it could not be done, for the reason that was printed. 2: the command line is wrong. Of record with a COMMAND: "
                     "the command's status, or 128 plus the number of the signal that ended it; 127: there is no such command; 126: it cannot be run." },
    { "SIGNALS", "While recording, SIGINT (Ctrl-C), SIGTERM and SIGHUP end the recording, which is then written; the second one ends pyprof at once. "
                 "SIGTERM, SIGHUP, and a SIGINT that does not come from the terminal, are passed on to a COMMAND." },
    { "ENVIRONMENT", "NO_COLOR: no colors. TERM=dumb: no progress. TMPDIR: the folder for temporary files. PROFILING and PYPROF_...: not read by "
                     "pyprof itself but by programs that profile themselves, see getting-started.md." },
    { "RIGHTS", "Another process can be read by its own user where /proc/sys/kernel/yama/ptrace_scope is 0, otherwise by root or with "
                "CAP_SYS_PTRACE. A COMMAND that pyprof starts can always be read. No process is ever stopped." },
};

static void cli_man(void)
{
    const struct cli_command *command;
    size_t i;
    printf(".\\\" Made by pyprof \\-\\-man from its tables of commands and options: do not edit.\n"
           ".TH PYPROF 1 \"\" \"pyprof %s\" \"User Commands\"\n.SH NAME\npyprof \\- sampling profiler for Python programs\n"
           ".SH SYNOPSIS\n.nf\n", pyprof_version());
    for (command = cli_command_table; command->bit; command++) {
        printf(".B pyprof %s\n", command->name);
        cli_roff("    [OPTION]... ");
        cli_roff(command->operands);
        printf("\n");
    }
    printf(".fi\n.SH DESCRIPTION\nA sampling profiler for Python programs, CPython 3.8 to 3.15. It reads the memory of other processes\n"
           "and never stops them. The options of\n.BR py\\-spy (1)\nare understood.\n.SH COMMANDS\n");
    for (command = cli_command_table; command->bit; command++) cli_man_command(command);
    for (i = 0; i < sizeof cli_notes / sizeof cli_notes[0]; i++) {
        printf(".SH %s%s%s\n", strchr(cli_notes[i][0], ' ') ? "\"" : "", cli_notes[i][0], strchr(cli_notes[i][0], ' ') ? "\"" : "");
        cli_roff(cli_notes[i][1]);
        printf("\n");
    }
    printf(".SH \"SEE ALSO\"\n.BR top (1),\n.BR perf (1),\n.BR py\\-spy (1)\n");
}

// ---- completion: bash -------------------------------------------------------------------
static void cli_choices(const struct cli_name *names)
{
    const struct cli_name *name;
    for (name = names; name->name; name++)
        if (name->note) printf("%s%s", name == names ? "" : " ", name->name);
}

static void cli_patterns(const struct cli_command *command, const struct cli_option *option)   // of a case
{
    printf("    '%s --%s'", command->name, option->name);
    if (option->also) printf(" | '%s --%s'", command->name, option->also);
    if (option->letter) printf(" | '%s -%c'", command->name, option->letter);
    printf(") ");
}

static void cli_complete_bash(void)
{
    const struct cli_command *command;
    const struct cli_option *option;
    printf("# bash completion for pyprof: source <(pyprof completion bash)\n"
           "_pyprof() {\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]} words\n"
           "    COMPREPLY=()\n"
           "    [ \"$word\" != = ] || word=''\n"
           "    [ \"$last\" != = ] || last=${COMP_WORDS[COMP_CWORD-2]}\n"
           "    if [ \"$COMP_CWORD\" = 1 ]; then words='");
    for (command = cli_command_table; command->bit; command++) printf("%s ", command->name);
    printf("--help --version'\n    else case \"${COMP_WORDS[1]} $last\" in\n");
    for (command = cli_command_table; command->bit; command++)
        for (option = cli_option_table; option->name; option++) {
            if (!(option->commands & command->bit) || !option->argument) continue;
            cli_patterns(command, option);
            if (option->choices) {
                printf("words='");
                cli_choices(option->choices);
                printf("' ;;\n");
            } else if (option->kind == CLI_PID) printf("words=$(cd /proc && echo [0-9]*) ;;\n");
            else printf("return ;;\n");
        }
    printf("    *) case ${COMP_WORDS[1]} in\n");
    for (command = cli_command_table; command->bit; command++) {
        printf("        %s) words='", command->name);
        if (command->bit == CLI_COMPLETION) printf("bash zsh fish ");
        if (command->bit == CLI_HELP) for (const struct cli_command *c = cli_command_table; c->bit; c++) printf("%s ", c->name);
        for (option = cli_option_table; option->name; option++)
            if (option->commands & command->bit) printf("--%s ", option->name);
        printf("' ;;\n");
    }
    printf("        esac\n"
           "        case $word in -*) ;; *) [ \"${COMP_WORDS[1]}\" = help ] || [ \"${COMP_WORDS[1]}\" = completion ] || return ;; esac ;;\n"
           "    esac; fi\n"
           "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
           "}\n"
           "complete -o default -F _pyprof pyprof\n");
}

// ---- zsh ----------------------------------------------------------------------------------
static void cli_quoted(const char *text, const char *special)   // within '...'
{
    for (; *text; text++) {
        if (*text == '\'') fputs("'\\''", stdout);
        else if (strchr(special, *text)) printf("\\%c", *text);
        else putchar(*text);
    }
}

static void cli_zsh_option(const struct cli_option *option)
{
    const char *value = option->argument ? option->argument[0] == '[' ? "=-" : "=" : "", *many = option->kind == CLI_OUTPUT || option->kind == CLI_COUNT ? "*" : "";
    if (option->letter && !*many) printf("            '(-%c --%s)'", option->letter, option->name);
    else printf("            '%s'", many);
    if (option->letter) printf("{-%c%s,--%s%s}'[", option->letter, option->argument ? "+" : "", option->name, value);
    else printf("'--%s%s[", option->name, value);
    cli_quoted(option->help, "[]:");
    printf("]");
    if (option->argument) printf("%s%s:", option->argument[0] == '[' ? "::" : ":", option->argument[0] == '[' ? "MODE" : option->argument);
    if (option->choices) {
        printf("(");
        cli_choices(option->choices);
        printf(")");
    } else if (option->kind == CLI_PID) printf("_pids");
    else if (option->kind == CLI_INPUT || option->kind == CLI_OUTPUT || (option->kind == CLI_WORD && strcmp(option->argument, "FILE") == 0)) printf("_files");
    printf("' \\\n");
}

static void cli_complete_zsh(void)
{
    const struct cli_command *command;
    const struct cli_option *option;
    printf("#compdef pyprof\n# zsh completion for pyprof: pyprof completion zsh >~/.zfunc/_pyprof\n_pyprof() {\n    local -a commands\n    commands=(\n");
    for (command = cli_command_table; command->bit; command++) {
        printf("        '%s:", command->name);
        cli_quoted(command->summary, ":");
        printf("'\n");
    }
    printf("    )\n    if (( CURRENT == 2 )); then _describe -t commands command commands; return; fi\n"
           "    shift words; (( CURRENT-- ))\n    case $words[1] in\n");
    for (command = cli_command_table; command->bit; command++) {
        printf("    %s)\n        _arguments -s -S \\\n", command->name);
        for (option = cli_option_table; option->name; option++)
            if (option->commands & command->bit) cli_zsh_option(option);
        printf("            %s ;;\n", command->bit & CLI_LIVE ? "'*::command:_normal'" : command->bit == CLI_COMPLETION ? "'1:shell:(bash zsh fish)'"
            : command->bit == CLI_HELP ? "\"1:command:(${commands%%%%:*})\"" : "'*:recording:_files'");
    }
    printf("    esac\n}\nif [ \"$funcstack[1]\" = _pyprof ]; then _pyprof \"$@\"; else compdef _pyprof pyprof; fi\n");
}

// ---- fish ---------------------------------------------------------------------------------
static void cli_complete_fish(void)
{
    const struct cli_command *command;
    const struct cli_option *option;
    printf("# fish completion for pyprof: pyprof completion fish >~/.config/fish/completions/pyprof.fish\n");
    for (command = cli_command_table; command->bit; command++) {
        printf("complete -c pyprof -n __fish_use_subcommand -f -a %s -d '", command->name);
        cli_quoted(command->summary, "");
        printf("'\n");
    }
    for (command = cli_command_table; command->bit; command++)
        for (option = cli_option_table; option->name; option++) {
            if (!(option->commands & command->bit)) continue;
            printf("complete -c pyprof -n '__fish_seen_subcommand_from %s' -l %s", command->name, option->name);
            if (option->letter) printf(" -s %c", option->letter);
            if (option->choices) {
                printf(option->argument[0] == '[' ? " -f -a '" : " -x -a '");
                cli_choices(option->choices);
                printf("'");
            } else if (option->kind == CLI_PID) printf(" -x -a '(__fish_complete_pids)'");
            else if (option->kind == CLI_INPUT || option->kind == CLI_OUTPUT || (option->kind == CLI_WORD && strcmp(option->argument, "FILE") == 0)) printf(" -r -F");
            else if (option->argument) printf(" -x");
            printf(" -d '");
            cli_quoted(option->help, "");
            printf("'\n");
        }
    printf("complete -c pyprof -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n");
}

static int cli_complete(const struct cli_options *options)
{
    const char *shell = options->inputs == 1 ? options->input[0] : "";
    if (strcmp(shell, "bash") == 0) cli_complete_bash();
    else if (strcmp(shell, "zsh") == 0) cli_complete_zsh();
    else if (strcmp(shell, "fish") == 0) cli_complete_fish();
    else return -1;
    return 0;
}
#endif
