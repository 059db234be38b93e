"""Programs for lex_differential.py: by grammar, full of what a lexer of comments falls over, and mutated."""
import ast
import glob
import os

NASTY = ["it's", '"', "`", "$(", ")", "}", ";; esac", "EOF", "\\", "x\\", "${", "<<EOF", "# #", "'''", '"""', "*/", "/*",
         "(", "{", "]]", "%", "/", "fine", "a b", "TODO later", "", "=", "''", "\\'", "$((", "then", "fi", "do it", "don't `"]


def comment(r):
    return "#" + r.choice(["", " ", "  ", "# ", "-"]) + " ".join(r.choice(NASTY) for _ in range(r.randint(0, 3)))


# ---- shell --------------------------------------------------------------------------------------------------------

WORDS = ["a", "a#b", "#", "\\#", "\\ #x", '"# $x"', "'# y'", "$#", "${#x}", "${x#a}", "${x##*#}", "${x:-#}", '"${x:-# z}"',
         "${x%#*}", "$x", '"$x"', "`echo a # b`", "`echo '#'`", '"`echo "b # c"`"', "$(echo a)", '"$(echo "x # y")"', "''",
         '""', "a''#", '"a"#b', "$x#c", "{a,b}", "{#,}", "a=#", "*.none", "[ab]#", "\\\\", '"\\""', "'a\nb'", '"a # b\nc"',
         "$((1 + 2))", "$((x3 + $#))", "a\\\nb", "a\\\n#b", "\\\n", "-#", "@#", "é#", "esac", "case", "in", "do", "x[1]",
         '"${x:-\'a\'}"', "${x:-'# q'}", '${x:-"# q"}', "a${x}#", "~#", "!", "%#", "1#2", "\\'#", "'\\'#", '"\'"#', "]", "[["]
BASH_WORDS = ["$'a # b'", "$'\\n#'", "a{1..3}#", "<(echo a)", '"${y[0]}"', "${y[@]#a}", "${x//#/b}", "${x/#a/b}", "${x^^}", '$"a # b"',
              "a[x # y]=1", "y[0]=#", "+(a|b)", "@(a|#)", "${!x}", "a[$x]#"]
TAILS = [";#", " #", "\t#", ";  #", "; # ", " # it's", " #'", ' #"', " #`", " #\\", " #$(", " # <<EOF", " # )"]
SEPARATORS = ["\n"] * 6 + ["; ", " && ", " || ", "\n\n", " &&\n", "; \n"]
BROKEN = list("#'\"`\\\n ();&|${}[]<=!") + ["<<", "$(", "${", " #", "\\\n", "$((", "))", ";;", "[[", " ]] ", "esac", "a[", "$'", "case"]


def shell_words(r, bash, most=3):
    pool = WORDS + (BASH_WORDS if bash else [])
    return " ".join(r.choice(pool) for _ in range(r.randint(1, most)))


def shell_heredoc(r, bash, depth):
    word = r.choice(["EOF", "E1", "'EOF'", '"EOF"', "\\EOF", "E-F", "#E"])
    plain = word.strip("'\"").lstrip("\\")
    dash = r.choice(["", "", "-"])
    body = "".join(r.choice(["# body $x\n", "a\n", "$(echo in # c\n)\n", "`echo b`\n", "it's\n", '"\n', "\\$x # y\n", "a \\\n# b\n", "\tE1\n",
                             "${x:-#}\n", "\n", "EO\\\nF\n", "x\\\n", "#\n", "${x:-'}'}\n", "$(echo '# )')\n"]) for _ in range(r.randint(0, 4)))
    behind = r.choice(["", " # c", " | cat", "; echo b # d", " # it's", " && echo c", ";# x", " | cat # y"])
    return "cat <<%s%s%s\n%s%s%s" % (dash, r.choice(["", " "]) + word, behind, body, "\t" if dash and r.random() < .5 else "", plain)


def shell_case(r, bash, depth):
    out = ["case %s in%s" % (r.choice(["$x", "a", '"# a"', "#", "a#b", "`echo a # b`"]), r.choice(["\n", " # c\n", " ", "\n# d\n"]))]
    for _ in range(r.randint(0, 3)):
        out.append("%s%s) %s%s" % (r.choice(["", "(", " "]), r.choice(["a", "*", "a|b", "'#'", "\\#*", "a | b", "[a#]", '"# x"', "esac#", "??"]),
                                   shell_list(r, bash, depth + 1).lstrip("#"), r.choice([";;\n", " ;;\n", " ;; # c\n", "\n;;\n", ";;# it's\n", "\n"])))
    return "".join(out) + "esac"


def shell_statement(r, bash, depth):
    kind = r.random()
    deep = depth < 3
    if kind < .40 or not deep:
        return r.choice(["echo ", "printf '%s\\n' ", "x=b echo ", "echo "]) + shell_words(r, bash)
    if kind < .48:
        return r.choice(["x=", "z="]) + r.choice(WORDS[:20]) + r.choice(["", "", " "])
    if kind < .58:
        return shell_heredoc(r, bash, depth)
    if kind < .68:
        return shell_case(r, bash, depth)
    if kind < .73:
        return "if %s%s then %s%s fi" % (r.choice(["true", "[ a = '#' ]", "[ $# = 0 ]", "! false"]), r.choice([";", "\n", " # c\n", "; # c\n"]),
                                         shell_list(r, bash, depth + 1), r.choice([";", "\n", " # c\n"]))
    if kind < .78:
        return "for i in %s%sdo %s%sdone" % (shell_words(r, bash), r.choice(["; ", "\n", " # c\n"]), shell_list(r, bash, depth + 1), r.choice(["; ", "\n", " # it's\n"]))
    if kind < .83:
        return r.choice(["f() { %s\n}\nf", "f () # c\n{ %s\n}\nf a", "{ %s\n}", "(%s\n)", "( %s\n) | cat", "f() ( %s\n)\nf"]) % shell_list(r, bash, depth + 1)
    if kind < .90:
        return "echo " + r.choice(['"$(%s\n)"', "$(%s\n)", "$( %s # c\n)", '"a $(%s # it\'s\n) b"']) % shell_list(r, bash, depth + 1)
    if not bash:
        return "echo " + shell_words(r, bash, 5)
    return r.choice(["y=(%s # c\n b)\necho ${y[@]}", "if [[ $x = %s ]]; then echo t; fi # c", "y=( # it's\n%s )\necho ${#y[@]}",
                     "((x3 = 1 + 2)) # c\necho $x3 %s", "[[ a =~ (a|b) ]] && echo %s # d", "cat <<<%s # c", "declare -a y=(%s)#c\necho ${y[0]}",
                     "for ((i=0;i<2;i++)); do echo %s # c\ndone", "function g { echo %s # c\n}\ng"]) % shell_words(r, bash, 2)


def shell_list(r, bash, depth=0):
    out = []
    for _ in range(r.randint(1, 3 if depth else 5)):
        if r.random() < .3:
            out.append(r.choice(["", "  ", "\t"]) + comment(r) + "\n")
        out.append(shell_statement(r, bash, depth))
        if r.random() < .3:
            out.append(r.choice(TAILS) + r.choice(["", " x", " it's", " )"]) + "\n")
        else:
            out.append(r.choice(SEPARATORS) if "<<" not in out[-1] else "\n")
    return "".join(out).rstrip("&| \n;") + r.choice(["", "\n"])


def shell(r, bash):
    return "x=abc\nset -- 1 2\n" + mutate(r, shell_list(r, bash) + "\necho end\n", BROKEN, .5)


def mutate(r, text, pieces, chance):
    while r.random() < chance:
        i, n = r.randrange(len(text) + 1), r.random()
        if n < .5:
            text = text[:i] + r.choice(pieces) + text[i:]
        elif n < .75:
            text = text[:i] + text[i + r.randint(1, 2):]
        else:
            j = r.randrange(len(text) + 1)
            text = text[:i] + text[min(i, j):max(i, j)][:20] + text[i:]
        chance *= .8
    return text


def shell_real(limit=6000):
    out = []
    for place in ("/usr/bin", "/usr/sbin", "/etc/init.d", "/usr/lib/dpkg", "/var/lib/dpkg/info", "/usr/share/debconf", "/usr/lib/git-core"):
        for f in sorted(glob.glob(place + "/*")):
            try:
                if os.path.isfile(f) and os.path.getsize(f) < limit:
                    text = open(f, "rb").read()
                    if text.startswith((b"#!/bin/sh", b"#! /bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash")):
                        out.append(text.decode("utf-8"))
            except (OSError, UnicodeDecodeError):
                continue
    return out


# ---- Python -------------------------------------------------------------------------------------------------------

PY_BROKEN = list("#'\"\\\n (){}[]:=frb") + ["'''", '"""', " # c\n", "f'", 'f"{', "rb'", "\\\n", "{x!r:>{w}}", "  # it's", "\n# \"\"\"\n", "\n    # c\n", "#", "'#'"]


def python_real(r, files=400):
    """Statements of the standard library, at most 40 lines each."""
    root = os.path.dirname(ast.__file__)
    names = sorted(glob.glob(root + "/*.py") + glob.glob(root + "/*/*.py"))
    r.shuffle(names)
    out = []
    for name in names[:files]:
        try:
            text = open(name, encoding="utf-8").read()
            lines, tree = text.splitlines(True), ast.parse(text)
        except (OSError, ValueError, SyntaxError):
            continue
        before = 0
        for node in tree.body:
            if node.end_lineno - before <= 40:
                out.append("".join(lines[before:node.end_lineno]))
            before = node.end_lineno
    return out


def python(r, pool):
    text = "".join(r.choice(pool) for _ in range(r.randint(1, 2)))
    lines = text.splitlines(True) or ["\n"]
    for _ in range(r.randint(0, 3)):
        i = r.randrange(len(lines) + 1)
        lines.insert(i, r.choice(["", "    ", "  "]) + comment(r) + "\n")
    for _ in range(r.randint(0, 2)):
        i = r.randrange(len(lines))
        lines[i] = lines[i].rstrip("\n") + r.choice(["  ", " ", ""]) + comment(r) + "\n"
    return mutate(r, "".join(lines), PY_BROKEN, .6)


# ---- R ------------------------------------------------------------------------------------------------------------

R_ITEMS = ["x", "1", "'# a'", '"# b"', '"it\'s"', "`a # b`", "r\"(# c)\"", "R'--[ # ]--'", "r\"{'\"'}\"", "x %in% y", "x %#% y", "5 %% 2", "f(x)", "x[1]", "x$`#`",
           "\\(x) x", "function(a) a", "-1", "'\\''", '"\\\\"', "TRUE", "x@y", "~ x", "é", "1e3", "r", "R", "'a\n# b'", "\"a\nb\"", "{\n x\n}", "(\n1\n)"]
R_JOIN = [" + ", " <- ", "\n", "; ", " ;\n", " &&\n", ", ", " # it's\n", "\n# c\n", " -> ", " |> ", " = ", "\n\n", " #\"\n", "#'\n"]
R_BROKEN = list("#'\"`\\\n (){}[]%-rR,;") + ["r\"(", ")\"", "%%", "%#%", " # c\n", "'#'"]


def r_program(r, pool):
    if pool and r.random() < .3:
        lines = r.choice(pool)
        i = r.randrange(len(lines))
        text = "".join(lines[i:i + r.randint(1, 30)])
    else:
        text = "".join(r.choice(R_ITEMS) + r.choice(R_JOIN) for _ in range(r.randint(1, 6))) + "x\n"
    if r.random() < .6:
        text += comment(r) + "\n"
    return mutate(r, text, R_BROKEN, .5)


def r_real():
    names = glob.glob("/usr/lib/R/library/*/demo/*.R") + glob.glob("/usr/lib/R/**/*.R", recursive=True)
    texts = [open(f, encoding="utf-8", errors="ignore").read().splitlines(True) for f in sorted(set(names))[:200]]
    return [t for t in texts if t]


# ---- awk ----------------------------------------------------------------------------------------------------------

AWK_ITEMS = ["x", "$1", "/a#b/", "/[#]/", "/\\/#/", '"# a"', '"\\"#"', "x / 2", "x / y / z", "$1 / 2", "a[1] / 2", "(x) + 1", "x ~ /#/", "! /#/", "length(x)", "x++ + 1", "1 / 2",
             "x == /#/", "substr(x, 1) y", "/[[:alpha:]#]/", "$NF", ".5 / 1", "x % 2", "x ? /a/ : /#/", "NR / 2", "length", "/[^#]x/", "/=#/", "x /= 2"]
AWK_BROKEN = list("#'\"/\\\n (){}[];") + ["/#/", " # c\n", " / ", '"#"', "\\\n", "++", ") /"]


def awk(r):
    out = []
    for _ in range(r.randint(1, 4)):
        if r.random() < .4:
            out.append(comment(r) + "\n")
        kind, a, b = r.random(), r.choice(AWK_ITEMS), r.choice(AWK_ITEMS)
        tail = r.choice(["\n", " # it's\n", " #\"\n", " # /\n", "\n\n"])
        if kind < .3:
            out.append("%s { print %s%s}%s" % (r.choice(["BEGIN", "END", "/#/", "NR == 1", "x ~ /a/", "/a/, /#/"]), a, tail, tail))
        elif kind < .5:
            out.append("{ if (%s) print %s; else x = %s%s}%s" % (a, b, a, tail, tail))
        elif kind < .7:
            out.append("{ x = %s%s y = %s }%s" % (a, tail, b, tail))
        elif kind < .85:
            out.append("function f%d(p) { # c\n return %s%s}%s" % (len(out), a, tail, tail))
        else:
            out.append("{ while (x < 1) { x++ %s print %s } } %s" % (tail, b, tail))
    return mutate(r, "".join(out), AWK_BROKEN, .4)


# ---- C ------------------------------------------------------------------------------------------------------------

C_ITEMS = ["int x;", 'char *s = "// a";', "char c = '\"';", "char d = '\\'';", 'char *t = "/* b";', "int y = 4 / 2;", "int z = x/y;", "#define A 1", "#define B(x) #x", "B(a /* b */ c)",
           "int f(void) { return 1; }", 'char *u = "\\"// c";', "x = a /b;", "x = a */*c*/b;", "#include <stdio.h>", "#if A", "#endif", "int w = '/';", 'B("//")', "a //b", "#define C(x) x /* c */ x"]
C_COMMENTS = [" // it's", " // \"", " /* it's */", " /* // */", "/* \" */", " /* a\n b */", " // /*", "/**/", " /* * / */", "// c", " /*/ x /*/"]
C_BROKEN = list("/*'\"\\\n (){}#;") + ["//", "/*", "*/", "'\"'", '"//"', "\\\n"]


def c_program(r):
    out = []
    for _ in range(r.randint(1, 7)):
        out.append(r.choice(["", "", "  ", "/* c */ "]) + r.choice(C_ITEMS) + (r.choice(C_COMMENTS) if r.random() < .5 else "") + "\n")
        if r.random() < .3:
            out.append(r.choice(C_COMMENTS) + "\n")
    return mutate(r, "".join(out), C_BROKEN, .35)
