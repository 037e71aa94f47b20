"""English."""

from __future__ import annotations

from typing import Final

from api.intelligence.grammar.base import NAME, Grammar, Headings, any_of, cue, pattern, words_of

TASK_VERB = any_of(
    "add|address|announce|apply for|approve|arrange|ask|assign|book|brief|build|buy|call|cancel|change|check|circulate",
    "clean up|clear up|close|collect|compile|complete|confirm|contact|coordinate|copy|correct|create|deliver|deploy",
    "design|document|double-check|draft|email|escalate|estimate|evaluate|file|fill in|fill out|finali[sz]e|finish|fix",
    "follow up|forward|gather|get back to|get in touch|give|hand in|hire|implement|inform|install|investigate|invite",
    "label|launch|look into|mail|make a list|make an appointment|make sure|measure|merge|message|migrate|move|notify",
    "order|organi[sz]e|pay|pick up|ping|plan|post|prepare|present|print|provide|publish|push|put together|reach out",
    "record|recruit|redesign|register|release|remind|remove|rename|renew|rent|replace|reply|report|request|research",
    "reschedule|reserve|resolve|review|revise|rewrite|roll back|roll out|schedule|send|set up|share|ship|sign|sort out",
    "speak to|speak with|submit|summari[sz]e|switch|take care of|take (?:pictures|photos|minutes|notes|over|on)",
    "talk to|tell|test|track|train|transfer|translate|update|upgrade|upload|verify|visit|wrap up|write",
)
"""A task, whoever takes it on."""
LOOSE_VERB = any_of(
    "bring|come back|decide|discuss|do|explain|get|help|look at|make|open|read|return|run|show|start|take",
    "talk about|think about|try|work on",
)
"""A task if there is a time for it."""
NO_TASK = (
    r"(?!(?:add that|address the elephant|ask (?:you|everyone|a question)|call (?:it|that|this)|check (?:if|whether) "
    r"(?:you|i|we) can|get (?:it|that|started|going)|give (?:it|that|up|an example|you (?:an?|the|some) (?:example"
    r"|idea|"
    r"sense|hint))|make (?:it|sense|that|fun)|move on|present (?:it|this|that)|share (?:my|your|the|a) (?:screen"
    r"|thought|"
    r"story)|take (?:it|that) |talk to you|tell (?:you|me|us|a story)|write (?:it|that|this) (?:down|off))\b)"
)
"""What people say of their talking, with verbs that are tasks elsewhere."""
ADVERBS = (
    "(?:"
    + any_of(
        "also|just|then|definitely|probably|quickly|first|now|still|really|all|both|please|gladly|happily|try to|be "
        "sure to",
        "make sure to|go ahead and|kindly|maybe",
    )
    + " ){0,3}"
)
TASK = rf"{ADVERBS}{NO_TASK}{TASK_VERB}\b"
ANYTHING = rf"{ADVERBS}{NO_TASK}{any_of(TASK_VERB, LOOSE_VERB)}\b"
WHO = rf"(?P<who>the (?:[\w-]+ ){{0,2}}team|{NAME}(?: and {NAME})?)"
MY = any_of(
    "i'll|i will|i shall|i'm going to|i am going to|i'm gonna|i need to|i have to|i've got to|i must|i promise to"
)
OUR = any_of(
    "we'll|we will|we're going to|we are going to|we need to|we still need to|we have to|we've got to|we must",
    "we also need to|we also have to",
)
THEIR = any_of("'ll|will|is going to|are going to|needs to|need to|has to|have to|must|shall|is supposed to")
YOU = any_of("can you|could you|would you|will you")
LETS_TALK = r"(?!add|ask|call|change|check|close|give|move|present|share|tell|plan)"

DAY = any_of("monday|tuesday|wednesday|thursday|friday|saturday|sunday")
MONTH = any_of("january|february|march|april|may|june|july|august|september|october|november|december")
PERIOD = any_of("day|week|weekend|month|quarter|year|sprint|semester|term")
ORDINAL = any_of(
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth",
    "sixteenth|seventeenth|eighteenth|nineteenth|(?:twent|thirt)ieth|(?:twenty|thirty)[ -](?:first|second|third"
    "|fourth)",
    "twenty[ -](?:fifth|sixth|seventh|eighth|ninth)",
)
NUMBER = any_of(r"\d+|a|an|one|two|three|four|five|six|seven|eight|nine|ten|a couple of|a few")
CLOCK = r"\d{1,2}(?::\d\d)?(?: ?[ap]\.?m\b| o'clock|(?=\W|$))"
IN_DAY = rf"(?: (?:morning|afternoon|evening|night|noon|at noon|at the latest|(?:next|this) week|at {CLOCK}))?"
DATE = (
    rf"(?:\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}(?:[./]\d{{2,4}})?|{MONTH} (?:the )?(?:\d{{1,2}}(?:st|nd|rd|th)?\b"
    rf"|{ORDINAL})"
    rf"|(?:the )?(?:\d{{1,2}}(?:st|nd|rd|th)?|{ORDINAL})(?: of)? {MONTH}|the (?:\d{{1,2}}(?:st|nd|rd|th)"
    rf"|{ORDINAL})\b)"
)
PART = (
    rf"(?:the )?(?:very )?(?:end|beginning|start|middle) of (?:(?:the|this|next) (?:{PERIOD}|{DAY})|{PERIOD}|{MONTH})"
)
TIME = any_of(
    rf"{DATE}|{PART}|(?:next |this |the coming )?(?:{DAY}|{PERIOD}|{MONTH}|spring|summer|autumn|winter|christmas"
    rf"|easter)",
    "tomorrow|tonight|today|noon|midnight|eod|cob|q[1-4]|then",
    "(?:the|our) (?:next )?(?:meeting|call|release|launch|demo|review|deadline|holidays|break)",
)
DUE = any_of(
    rf"(?:by|before|no later than|not later than|at the latest by|due|in time for) (?:{TIME}|{CLOCK}){IN_DAY}",
    rf"(?:on|for) (?:{DATE}|(?:next )?{DAY}|tomorrow){IN_DAY}",
    rf"(?:today|tonight|tomorrow|{DAY}){IN_DAY}|later today|first thing(?: tomorrow| in the morning)?|right away"
    rf"|asap",
    rf"(?:next|this) (?:week|weekend|month|quarter|year|sprint|afternoon|evening|morning|{DAY}|{MONTH}){IN_DAY}",
    rf"at the end of (?:the|this|next) {PERIOD}|as soon as possible",
    rf"(?:within|in) (?:the )?(?:next )?{NUMBER} (?:hour|day|week|month)s?",
)


ENGLISH: Final = Grammar(
    tasks=(
        cue(rf"\b{MY} {TASK}", "speaker"),
        cue(rf"\b(?:{MY}|i can|let me) {ANYTHING}", "speaker", dated=True),
        cue(rf"\b(?:{YOU}|please,?) {TASK}", "addressed"),
        cue(rf"\b(?:{YOU}|please,?) {ANYTHING}", "addressed", dated=True),
        cue(rf"\b{WHO} ?{THEIR} {TASK}", "named"),
        cue(rf"\b{WHO} ?{THEIR} {ANYTHING}|^{WHO.replace('who', 'noted')} to {TASK}", "named", dated=True),
        cue(rf"^(?:[a-z]+, )?(?P<who>{NAME}), {TASK}", "named"),
        cue(rf"\b{OUR} {TASK}|\b(?:let's|let us) {LETS_TALK}{TASK}", "nobody"),
        cue(rf"\b(?:{OUR}|we should|let's|let us) {ANYTHING}", "nobody", dated=True),
        cue(
            r"\b(?:needs? to|has to|have to|must) be (?:[a-z]{1,20}ly )?[a-z]{2,20}(?:ed|en|nt|lt|ght|de|ne|ut)\b",
            "nobody",
            dated=True,
        ),
    ),
    due=pattern(rf"\b{DUE}(?!\w)"),
    doubt=pattern(
        r"\b(?:if(?! possible| you can| you could| you have)|unless|whether|i'd|would|might|perhaps|maybe|wish|hope"
        r"|suppose|imagine|could have|in case|pretend|(?:do|does|did)(?:n't| not) (?:think|believe))\b"
    ),
    asks_about=pattern(
        r"^(?:(?:and|so|but|okay|well|then|also|now),? )*(?:do|does|did|should|shall|must|will (?!you)|would (?!you)"
        r"|have|has|is"
        r"|are|was|were|what|when|where|why|who|how|which)\b"
    ),
    decision=pattern(
        r"\bwe(?:'ve| have)?(?: just| all| now| finally| then| also)? (?:decided|agreed|settled on|approved|chose"
        r"|chosen|resolved to|opted)\b"
        r"|\b(?:it was|it's been|it has been|it is|it's|that's|that is) (?:decided|agreed|approved|settled)\b"
        r"|\b(?:the|our|my) (?:final )?decision (?:is|was)\b|\bdecisions? ?:"
        r"|\b(?:let's|let us|we'll|we will) (?:go with|go for|stick with|stick to)\b"
        r"|\bwe(?:'re| are) (?:going (?:to go )?with|sticking with)\b"
    ),
    no_decision=pattern(
        r"\b(?:if|unless|until|whether|(?:have|had)n't|(?:have|had|has) not|not yet|never|almost|nearly|nobody"
        r"|should have|"
        r"once|before|after|when|since) (?:\w+ ){0,2}(?:decided|agreed|settled|approved|chose|chosen)\b"
        r"|\blast (?:year|month|week|spring|summer|autumn|winter)\b|\bago\b|\bagreed (?:to disagree|with (?:you|him"
        r"|her|that))\b"
    ),
    question=pattern(
        r"^(?:(?:and|so|but|or|okay|ok|well|then|also|now|yeah|hey|um|uh)[, ]+)*(?:"
        r"(?:what|who|where|when|why|how|which)(?: (?:much|many|long|often|far|soon|old|else|about|kind of \w+|time"
        r"|day)(?: \w+)?)?"
        r" ?(?:is|are|was|were|do|does|did|can|could|will|would|should|has|have|'s|'re)\b(?! why| because)"
        r"|(?:do|does|did|can|could|will|would|should|shall|is|are|was|were|have|has|may) (?:you|we|they|i|he|she|it"
        r"|there|this|that|these"
        r"|anyone|anybody|someone|somebody|everyone|everybody|the)\b"
        r"|(?:any|anyone|anybody) (?:questions|objections|ideas|news|thoughts|volunteers)\b)"
    ),
    tag=pattern(
        r",? (?:(?:is|are|was|were|do|does|did|has|have|can|could|will|would|should)n't (?:it|you|we|they|he|she|i"
        r"|there))$|, (?:right|correct|yes|no)$"
    ),
    no_question=pattern(
        r"^(?:(?:oh|so|and|but|okay|yeah),? )?(?:you know(?: what i mean)?|right|really|okay|huh|is that so"
        r"|guess what|isn't it"
        r"|are you (?:serious|kidding)|can you (?:all )?(?:hear|see)\b.*"
        r"|(?:\w+, )?how(?:'s| is| are) (?:you|it going|everything|life)\b.*|what's up"
        r"|you see|sorry)\?*$"
        r"|,? (?:you know|okay|huh|eh)\?$"
    ),
    no_answer=pattern(
        r"^(?:sorry|excuse me|hold on|wait|one second|before that|let's|let me|next|moving on|anyway|hmm|mm-?hmm"
        r"|that's a good"
        r"|good question|thank|bye|okay\W*$|oh\W)"
    ),
    opening=pattern(
        r"^(?:(?:okay|ok|so|all right|alright|right|now|then|and|well|good|great|anyway),? )*(?:"
        r"(?:let's|let us|we should|we (?:also )?(?:need|have) to|i'd like to|i want to|can we|shall we"
        r"|we can)(?: now| then| also)? "
        r"(?:turn|move|talk|speak|start|begin|look|go (?:on|over|through|to)|come|get (?:to|back)|continue|switch"
        r"|discuss)\b"
        r"|moving on\b|next(?: up| is| on|,| item| topic| thing)\b"
        r"|(?:the |my |our )?(?:first|second|third|fourth|next|last|final|other)(?:, | of all | big )? ?(?:thing"
        r"|item|point|topic|one"
        r"|question|up|the|subject)\b|as for\b|about the\b|regarding\b|concerning\b|another (?:thing|topic|point"
        r"|item|subject)\b"
        r"|where are we (?:with|on)\b|what about the\b|on to\b|in other news\b|to come to\b)"
        r"|^(?:so|okay|now|well), (?:the|our|which)\b|^then,? (?:the|our|to|about)\b"
    ),
    definition=pattern(
        r"^(?:(?:so|well|now|and|basically),? )?(?P<term>(?:(?:the|a|an) )?\w[\w'-]*(?: \w[\w'-]*){0,3}?) "
        r"(?:is|are|means|refers to|stands for|is called|is defined as) (?:when|any|one of|how|something"
        r"|(?:an?|the) (?!bit|lot|little|few|hour|minute|day|week|month|year|shame|pity|problem|pleasure|same|case"
        r"|point|thing|one|only|good|great|nice|bad|big|hard))\b"
    ),
    no_topic=pattern(
        r"^(?:\S+ )*(?!speed|need|feed|seed|shed|hundred)\w+[^aeiou]ed$|^(?:\w+ )?(?:starting|coming|having|getting)\b"
    ),
    no_names=words_of(
        "the this that these those it he she they we you i i'm i'll i've i'd my your our his her their its who what "
        "there "
        "everyone everybody someone somebody nobody anyone anybody one people things okay ok so well yes yeah no "
        "right and "
        "but or then also now please great good thanks thank alright sure perfect fine however finally first second "
        "third "
        "next today tomorrow yesterday tonight monday tuesday wednesday thursday friday saturday sunday january "
        "february "
        "march april may june july august september october november december hopefully maybe oh hey hi hello if "
        "when "
        "where why how because which all some most many each not nothing something later time need needs ready "
        "happy nice "
        "mr mrs ms dr sir madam tv am pm todo to-do a an in on at by for from of to as is are do does did can could "
        "will "
        "would should let let's lets here god jesus wow hmm um uh just only still even christmas easter never "
        "always both after before since while until once again welcome sorry speaking"
    ),
    stop_words=words_of(
        "a an the and or but if of in on at by for from to with as is are was were be been do does did done have "
        "has had "
        "it its this that these those i you he she we they me him her us them my your his our their so very really "
        "just "
        "not no yes there here what which who when where why how can could will would should may might must thing "
        "things "
        "lot bit kind sort really know think mean going get got one also okay well people time way something "
        "anything "
        "everything good great right sure yeah hmm let make much many more most all some any other than then too "
        "into out "
        "up down over about because like want need say said see look looking today tomorrow yesterday week "
        "weeks day days month months year years hour hours minute minutes morning afternoon evening night percent "
        "euros "
        "pounds dollars number numbers answer answers question questions point points item items part half rest "
        "whole last "
        "next first second third new old big small able sure happy nice list name january february march april may "
        "june "
        "july august september october november december monday tuesday wednesday thursday friday saturday sunday "
        "until "
        "before after while still already again even never ever always maybe probably actually basically course "
        "example "
        "one two three four five six seven eight nine ten hundred thousand million done made make makes making goes "
        "went "
        "come came take took taken give gave given talk talking tell told ask asked call "
        "called said says does doing begin start brought pleasure hello thanks thank welcome"
    ),
    headings=Headings(
        summary="Summary",
        topics="Topics",
        attendees="Attendees",
        speakers="Speakers",
        decisions="Decisions",
        action_items="Action items",
        open_questions="Open questions",
        chapters="Chapters",
        quotes="Quotes",
        links="Links",
        overview="Overview",
        key_points="Key points",
        terms="Terms",
        review_questions="Review questions",
        conclusion="Conclusion",
        answer="Answer",
        due="due",
        conjunction="and",
        untitled="Untitled",
        what_is="What is {}?",
        what_was_said="What was said about {}?",
        no_action_items="No action items were found.",
        nothing_near="Nothing was found that answers this.",
        nothing_said="Nothing was said.",
    ),
)
