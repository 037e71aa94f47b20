"""Words that decide what a sentence says, and words that say nothing, by language.

A language that has none here has no fillers either, and only its digits are known to be numbers.
"""

from __future__ import annotations

import re
from typing import Final
from unicodedata import normalize

FIXED: Final = {
    language: frozenset(normalize("NFC", words).split())
    for language, words in {
        "en": """no not never none nobody nothing nowhere neither nor without cannot hardly barely aint cant couldnt
            didnt doesnt dont hadnt hasnt havent isnt arent mustnt neednt shouldnt wasnt werent wont wouldnt zero
            one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
            seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
            million billion trillion hundreds thousands millions billions half quarter third first second fourth
            fifth sixth seventh eighth ninth tenth eleventh twelfth once twice dozen double triple monday tuesday
            wednesday thursday friday saturday sunday january february march april may june july august september
            october november december today yesterday tomorrow""",
        "es": """no ni nunca jamás nada nadie ningún ninguna ninguno tampoco sin apenas cero un una uno dos tres cuatro
            cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete dieciocho
            diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete
            veintiocho veintinueve treinta cuarenta cincuenta sesenta setenta ochenta noventa cien ciento doscientos
            trescientos quinientos mil millón millones medio media tercio cuarto primero primera segundo segunda
            tercero tercera doble triple docena lunes martes miércoles jueves viernes sábado domingo enero febrero
            marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre hoy ayer mañana""",
        "de": """nicht nie niemals nichts niemand kein keine keinen keinem keiner keines nein ohne weder noch kaum null
            ein eine eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn
            sechzehn siebzehn achtzehn neunzehn zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig
            hundert tausend million millionen milliarde milliarden halb halbe drittel viertel erste zweite dritte
            vierte einmal zweimal dreimal dutzend montag dienstag mittwoch donnerstag freitag samstag sonntag januar
            februar märz april mai juni juli august september oktober november dezember heute gestern morgen""",
        "fr": """ne pas non jamais rien personne aucun aucune sans ni guère plus zéro un une deux trois quatre cinq six
            sept huit neuf dix onze douze treize quatorze quinze seize vingt trente quarante cinquante soixante cent
            cents mille million millions milliard milliards demi demie tiers quart premier première deuxième second
            seconde troisième douzaine double triple lundi mardi mercredi jeudi vendredi samedi dimanche janvier
            février mars avril mai juin juillet août septembre octobre novembre décembre hier demain""",
        "pt": """não nem nunca jamais nada ninguém nenhum nenhuma sem zero um uma dois duas três quatro cinco seis sete
            oito nove dez onze doze treze catorze quatorze quinze dezesseis dezasseis dezessete dezassete dezoito
            dezenove dezanove vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem cento duzentos
            trezentos quinhentos mil milhão milhões bilhão bilhões meio meia terço quarto primeiro primeira segundo
            segunda terceiro terceira dúzia dobro terça quarta quinta sexta sábado domingo janeiro fevereiro março
            abril maio junho julho agosto setembro outubro novembro dezembro hoje ontem amanhã""",
        "it": """no non né mai niente nulla nessun nessuno nessuna senza zero un uno una due tre quattro cinque sei
            sette otto nove dieci undici dodici tredici quattordici quindici sedici diciassette diciotto diciannove
            venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento mille mila milione milioni miliardo
            miliardi mezzo mezza terzo quarto primo prima secondo seconda dozzina doppio lunedì martedì mercoledì
            giovedì venerdì sabato domenica gennaio febbraio marzo aprile maggio giugno luglio agosto settembre
            ottobre novembre dicembre oggi ieri domani""",
        "hi": """नहीं न ना मत बिना बगैर कभी शून्य एक दो तीन चार पाँच पांच छह छः सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह
            सोलह सत्रह अठारह उन्नीस बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस तीस इकतीस बत्तीस
            तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस चालीस इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस
            छियालीस सैंतालीस अड़तालीस उनचास पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ साठ
            इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर
            पचहत्तर छिहत्तर सतहत्तर अठहत्तर उनासी अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सत्तासी अट्ठासी
            नवासी नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे सौ हज़ार हजार लाख करोड़ अरब आधा
            डेढ़ ढाई सवा साढ़े पौने पहला पहली दूसरा दूसरी तीसरा तीसरी सोमवार मंगलवार बुधवार गुरुवार शुक्रवार शनिवार
            रविवार जनवरी फ़रवरी फरवरी मार्च अप्रैल मई जून जुलाई अगस्त सितंबर अक्टूबर नवंबर दिसंबर आज कल परसों""",
    }.items()
}
"""Negations, numbers, and days: what is never put in, taken out or written for something else."""

FILLERS: Final = {
    language: re.compile(pattern)
    for language, pattern in {
        "en": "u+m+|u+h+m*|er|e+rm+|h+m+",
        "es": "e+h+|e+m+|m{3,}",  # mm are millimetres
        "de": "ä+h*m*|ö+h*m*|h+m+",
        "fr": "e+u+h*|h+e+u+|h+m+",
        "pt": "ã+h*|h+[ãu]+m+|h+m+",
        "it": "e+h+m*|m{3,}h*|m+h+",
        "hi": "अं+|उम्+|हम्म+|आं+",
    }.items()
}
HESITATIONS: Final = {"es": frozenset({"este", "pues"}), "pt": frozenset({"é"})}
"""Words that are fillers where a comma or dots set them apart."""
